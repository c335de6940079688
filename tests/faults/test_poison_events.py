"""What no model should see, sent beside good events (F9), and messages as large as they come (F16)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from faults.rig import Rig
from faults_table import Tally
from kafka.errors import MessageSizeTooLargeError
from raw_kafka import raw_producer
from system.oracle import predictions, read_all

from schemas import codec
from schemas.dead_letters import read_dead_letter
from schemas.events import Event, Label

NOW = 1_700_000_000_000
MB = 1 << 20


def event(event_id: str = "p", time: int = NOW, **features: Any) -> bytes:
    return Event(event_id, time, features).encode()


POISON: dict[str, tuple[bytes | None, str]] = {
    "truncated": (event(x=1.0)[:-3], "codec"),
    "unknown schema": (b"\xc3\x01" + b"\x07" * 8 + event(x=1.0)[10:], "codec"),
    "wrong type": (event(x="text"), "type"),
    "null": (None, "codec"),
    "bad UTF-8": (codec.EVENT.header + b"\x04\xff\xfe" + event(x=1.0)[13:], "codec"),
    "NaN where missing is refused": (event(x=math.nan), "missing"),
    "infinity": (event(x=math.inf), "infinite"),
    "minus infinity": (event(y=-math.inf), "infinite"),
    "1e308 in a bounded feature": (event(x=1e308), "range"),
    "5,000 features": (event(**{f"f{number}": 1.0 for number in range(5000)}), "size"),
    "a name of 10 kB": (event(**{"n" * 10_000: 1.0}), "size"),
    "empty": (b"", "codec"),
    "time in the far future": (event(time=NOW * 3, x=1.0), "time"),
    "negative time": (event(time=-1, x=1.0), "time"),
    "the right id with the wrong schema": (Label("e1", True, NOW).encode(), "codec"),
}


@pytest.mark.fault("F9")
def test_poison_is_kept_with_reason_place_and_bytes_and_stops_nobody(
    rig: Rig, rounds: Callable[[int, int], int], tally: Tally
) -> None:
    rig.start_all()
    rig.publish()
    each = -(-rounds(140, 1000) // len(POISON))
    producer = raw_producer(rig.cluster)
    topic = rig.names.topic("features")
    sent: dict[tuple[int, int], tuple[bytes | None, str]] = {}
    for number in range(each * len(POISON)):
        value, code = list(POISON.values())[number % len(POISON)]
        place = producer.send(topic, value, key=b"poison-%d" % number, partition=number % 3).get(20)
        sent[place.partition, place.offset] = value, code
    producer.close()
    rig.await_progress("predictor", "joiner", "learner")
    rig.finish(tally, len(sent), errors=len(sent))
    letters = [read_dead_letter(r.value) for r in read_all(rig.stream.bootstrap, rig.names.topic("dead-letters"))]
    kept = {(letter.partition, letter.offset): (letter.value, letter.code) for letter in letters}
    assert len(letters) == len(sent)
    assert kept == sent
    assert all(letter.reason and letter.topic == topic and letter.stage == "predictor" for letter in letters)
    errors = Counter(found.outcome.status for found in predictions(rig.stream))
    assert errors["error"] == len(sent)
    assert all(member.ends == [0] for member in rig.members.values())


def large(event_id: str, size: int) -> bytes:
    """Return an event of exactly so many bytes, each of its values within what the contract takes."""
    features: dict[str, Any] = {"x": 1.0, "y": 1.0}
    number = 0
    while (missing := size - len(event(event_id, **features))) > MB // 2:
        features[f"part{number:02}"] = bytes(min(MB - 100, missing - 40))
        number += 1
    features["rest"] = b""
    # Adding to a value may make its length a byte longer.
    while (missing := size - len(event(event_id, **features))) > 0:
        features["rest"] += bytes(max(1, missing - 2))
    return event(event_id, **features)


SIZES = {"1 MB - 1": MB - 1, "1 MB": MB, "1 MB + 1": MB + 1, "under": MB - 200, "5 MB": 5 * MB, "50 MB": 50 * MB}


@pytest.mark.full
@pytest.mark.fault("F16")
def test_what_the_broker_takes_is_answered_however_large_it_is(rig: Rig, tally: Tally) -> None:
    """Compressed, 50 MB of nothing pass a broker's limit of 1 MB: they must stop nobody."""
    rig.start_all()
    rig.publish()
    taken: dict[tuple[int, int], str] = {}
    refused: list[str] = []
    for compression in (None, "gzip", "zstd"):
        producer = raw_producer(
            rig.cluster,
            compression_type=compression,
            max_request_size=200 * MB,
            batch_size=1,
            request_timeout_ms=60_000,
        )
        for what, size in SIZES.items():
            event_id = f"{compression}-{size}"
            try:
                at = producer.send(
                    rig.names.topic("features"), large(event_id, size), key=event_id.encode(), partition=0
                ).get(60)
                taken[at.partition, at.offset] = event_id
                producer.send(rig.names.topic("labels"), Label(event_id, True, NOW).encode(), partition=0).get(20)
            except MessageSizeTooLargeError:
                refused.append(f"{compression} {what}")
        producer.close()
    assert len(taken) >= 11, refused
    assert len(refused) >= 3, refused
    rig.await_progress("predictor", "joiner", "learner")
    rig.finish(tally, len(taken) + len(refused), errors=None)
    assert all(member.ends == [0] for member in rig.members.values())
