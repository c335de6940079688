"""What a dead letter says of what it could not keep."""

from __future__ import annotations

from typing import NamedTuple

from consumers.loop.dead_letters import HEADERS_LEFT_OUT, dead_letter
from runtime.kafka_client import size_limits
from schemas.dead_letters import DeadLetter, read_dead_letter


class Sent(NamedTuple):
    """A record that was refused."""

    headers: list[tuple[str, bytes]]
    topic: str = "s.features"
    partition: int = 0
    offset: int = 5
    timestamp: int = 1
    key: bytes | None = b"k"
    value: bytes | None = b"v"


def letter(record: Sent) -> DeadLetter:
    return read_dead_letter(dead_letter("s.dead-letters", record, "predictor", "type", "no", 2).value or b"")


def test_headers_that_are_too_large_are_left_out_and_the_reason_says_so() -> None:
    found = letter(Sent([("trace", bytes(size_limits.BESIDE))]))
    assert (found.headers, found.reason) == ([], f"no {HEADERS_LEFT_OUT}")


def test_headers_that_fit_are_kept_and_nothing_is_said() -> None:
    found = letter(Sent([("trace", b"1")]))
    assert (found.headers, found.reason) == ([("trace", b"1")], "no")
