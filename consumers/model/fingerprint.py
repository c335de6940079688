"""Identity of a model: a hash chain over all learned examples, and a fingerprint of exact answers."""

from __future__ import annotations

import hashlib
import struct
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from consumers.model.river_model import ModelError, RiverModel
from schemas.events import Features, LabelValue, Lane
from schemas.fast_examples import FastExample

_FIRST_PROBES: Final = 32
_LAST_PROBES: Final = 32
_PACK: Final = struct.Struct(">qI")


class Chain:
    """A hash over (lane, sequence, event id, label, learned or not) of every example, in the log's order."""

    def __init__(self, value: bytes = bytes(32)) -> None:
        self.value = value

    def add(self, lane: Lane, event_id: str, label: LabelValue | None, learned: bool) -> None:
        """Add one example to the hash. `repr` of a float has all its digits."""
        text = f"{lane.name}\0{lane.epoch}\0{event_id}\0{type(label).__name__}:{label!r}".encode()
        head = _PACK.pack(lane.sequence, len(text))
        self.value = hashlib.blake2b(self.value + head + text + (b"\1" if learned else b"\0"), digest_size=32).digest()

    def add_learned(self, entries: Iterable[FastExample]) -> None:
        """Add examples that were learned to the hash, each as `add` does."""
        value, pack, blake2b = self.value, _PACK.pack, hashlib.blake2b
        for entry in entries:
            lane, label = entry.lane, entry.label
            text = f"{lane.name}\0{lane.epoch}\0{entry.event_id}\0{type(label).__name__}:{label!r}".encode()
            value = blake2b(b"%b%b%b\1" % (value, pack(lane.sequence, len(text)), text), digest_size=32).digest()
        self.value = value

    def hex(self) -> str:
        return self.value.hex()


class Probes:
    """Probe events of a fingerprint: the first and the last that were learned."""

    def __init__(self) -> None:
        self._first: list[Features] = []
        self._last: deque[Features] = deque(maxlen=_LAST_PROBES)

    def add(self, features: Features) -> None:
        """Offer one event's features as a probe."""
        if len(self._first) < _FIRST_PROBES:
            self._first.append(features)
        else:
            self._last.append(features)

    def add_several(self, several: Sequence[Features]) -> None:
        """Offer several events, in their order."""
        few = _FIRST_PROBES - len(self._first)
        self._first += several[:few]
        self._last.extend(several[few:])

    def __iter__(self) -> Any:
        yield from self._first
        yield from self._last

    def newest(self, most: int, most_bytes: int) -> list[Features]:
        """Return up to `most` of the last events that JSON can spell exactly and in at most `most_bytes`."""
        taken: list[Features] = []
        for features in reversed(list(self)):
            if any(isinstance(value, bytes) for value in features.values()):
                continue
            most_bytes -= len(msgspec.json.encode(features))
            if len(taken) == most or most_bytes < 0:
                break
            taken.append(features)
        return taken[::-1]

    def dump(self) -> tuple[list[Features], list[Features]]:
        """Return the state as plain values."""
        return self._first, list(self._last)

    @classmethod
    def load(cls, dumped: tuple[list[Features], list[Features]]) -> Probes:
        """Return the object that `dump` describes."""
        probes = cls()
        probes._first = list(dumped[0])
        probes._last.extend(dumped[1])
        return probes


def fingerprint(model: RiverModel, probes: Iterable[Features]) -> str:
    """Return a hash of full-precision answers on the probes.

    Predicted classes are not enough: after one lost example they were equal on 100 probes for four of four models.

    Raises
    ------
    ModelError
        If the model answers a probe with a number that is not finite, or raises on a probe it could once take.
    """
    digest = hashlib.blake2b(digest_size=32)
    for features in probes:
        try:
            answer = model.as_said(features)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(f"{type(error).__name__}: {error}") from error
        shares = answer.probabilities
        if shares is None:
            text = repr(_unboxed(answer.value))
        else:
            text = repr(sorted((repr(k), float(v)) for k, v in shares.items()))
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()


def _unboxed(value: Any) -> Any:
    """Return numpy's numbers as plain ones; numpy's texts and floats stay, as in the fingerprints of all versions."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else value.item()
