"""Throttled log lines about a role's decisions: version served, version written, records refused."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from millstream.observability.instrumentation import RoleInstrumentation
from runtime.kafka_client.records import CommittedOffset, Output, Partition
from schemas.codec import CodecError
from schemas.dead_letters import read_dead_letter
from schemas.model_names import version_text
from schemas.topics import Names

if TYPE_CHECKING:
    from consumers.predictor.predictor import ServedVersion
    from model_store import Manifest

_EVERY_SECONDS: Final = 60.0


class Say(Protocol):
    """Writes one log line, with its fields for JSON."""

    def __call__(self, line: str, /, **fields: Any) -> None: ...


class _ThrottledLine:
    """Limits lines of one kind to one in `_EVERY_SECONDS`: the newest, with the number of lines it stands for."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._said = clock() - _EVERY_SECONDS
        self._lock = threading.Lock()
        self._line: Callable[[int], None] | None = None
        self._count = 0

    def offer(self, line: Callable[[int], None]) -> None:
        with self._lock:
            self._line, self._count = line, self._count + 1
        self.look()

    def look(self) -> None:
        with self._lock:
            if self._line is None or self._clock() - self._said < _EVERY_SECONDS:
                return
            line, count = self._line, self._count
            self._line, self._count, self._said = None, 0, self._clock()
        line(count)


class LogMeter(RoleInstrumentation):
    """A meter that says what matters, each sort of thing at most once a minute."""

    def __init__(self, names: Names, say: Say, clock: Callable[[], float] = time.monotonic) -> None:
        self._topic = names.topic("dead-letters")
        self._say = say
        self._swaps, self._checkpoints, self._refusals = (
            _ThrottledLine(clock),
            _ThrottledLine(clock),
            _ThrottledLine(clock),
        )
        self._letters: Counter[str] = Counter()

    def turned(self) -> None:
        for held in (self._swaps, self._checkpoints, self._refusals):
            held.look()

    def swapped(self, version: ServedVersion) -> None:
        name = version_text(version.name, version.epoch, version.examples)

        def line(count: int) -> None:
            self._say(f"version {name} answers now{_last_of(count)}", event="swapped", version=name, swaps=count)

        self._swaps.offer(line)

    def checkpoint(self, version: Manifest, seconds: float | None) -> None:
        if seconds is None:
            return
        name = str(version.version)

        def line(count: int) -> None:
            fields = {"version": name, "offset": version.offset, "seconds": round(seconds, 3), "checkpoints": count}
            self._say(f"version {name} is written, in {seconds:.2f} s{_last_of(count)}", event="checkpoint", **fields)

        self._checkpoints.offer(line)

    def committed(self, outputs: Sequence[Output], places: Mapping[Partition, CommittedOffset], seconds: float) -> None:
        letters = [output.value for output in outputs if output.topic == self._topic]
        if letters:
            self._letters.update(map(_code, letters))
            self._refusals.offer(self._refused)

    def _refused(self, count: int) -> None:
        letters, self._letters = self._letters, Counter()
        said = ", ".join(f"{times} {code}" for code, times in letters.most_common())
        self._say(f"refused, and among the dead letters: {said}", event="dead-letters", codes=dict(letters))


def _last_of(count: int) -> str:
    return "" if count == 1 else f", the last of {count} since the previous line"


def _code(value: bytes | None) -> str:
    try:
        return read_dead_letter(value or b"").code
    except CodecError:
        return "unknown"
