"""Readers of what others write, fed with bytes made from valid ones: each reads them, or refuses in its own way (S9).

Mutations of valid bytes. What reaches a line of the readers that nothing reached before is mutated further, so that
they work their way in. What is read must come out equal when it is written and read again, and the quick readers
must agree with the Avro library.
"""

from __future__ import annotations

import math
import random
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import pytest
from store_parts import SIGNER, draft, version

from model_store import Damaged, FileRef, Manifest, libraries
from model_store.manifest import decode_manifest, encode_manifest, seal, signed_bytes, unseal
from producers.label import parse_label
from schemas import codec
from schemas.codec import HEADER_BYTES, CodecError
from schemas.dead_letters import read_dead_letter
from schemas.events import (
    Event,
    Example,
    Joined,
    Label,
    Lane,
    Outcome,
    read_event,
    read_example,
    read_label,
    read_prediction,
)
from schemas.fast_examples import EntryReader, PredictionReader, entry_of
from schemas.model_updates import ModelUpdate, Published, Serving, read_model_update
from schemas.target import Target, TargetError

FEATURES: Final[dict[str, Any]] = {
    "a": 1.5,
    "b": -3,
    "c": "text",
    "d": None,
    "e": True,
    "f": [0.5, 1.5],
    "g": b"\0\xff",
}
EVENT: Final = Event("e1", 1_700_000_000_000, FEATURES)
PLAIN: Final = Event("e2", 1_700_000_000_000, {"a": 0.25, "b": 2.5})
OUTCOME: Final = Outcome(True, {"true": 0.75, "false": 0.25}, "m", 1, 100, 1_700_000_000_500, "s.features", 2, 7)
LABEL: Final = Label("e2", True, 1_700_000_001_000)
LANE: Final = Lane("0", "epoch", 5)
JOINED: Final = Joined(0, 3, 1_700_000_000_600, 4, 1_700_000_001_100)
TOKENS: Final = (
    b"\xc3\x01", b"\x00", b"\xff" * 9, b"\x80" * 10, b"\x01", b"\x7f", b"\xfe" + b"\xff" * 8 + b"\x01", b"\xed\xa0\x80",
    struct.pack("<d", math.nan), struct.pack("<d", math.inf), b"null", b"{}", b"[", b"}", b",", b":", b"-", b'"',
    b"\\ud800", b"\\u0000", b"1e999", b"NaN", b"[" * 3000, b"0" * 9, b"9" * 400, b'"event_id"', b'"features"',
    b'"value"',
)  # fmt: skip
_WATCHED: Final = ("/schemas/", "/model_store/", "/producers/")


def mutated(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Return the bytes with one to four small things done to them."""
    made = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(made) + 1)
        end = min(len(made), at + rng.choice((1, 2, 4, 8, 9, 40)))
        what = rng.randrange(7)
        if what == 0 and made:
            made[at % len(made)] ^= 1 << rng.randrange(8)
        elif what == 1:
            del made[at:end]
        elif what == 2:
            made[at:at] = rng.choice(TOKENS)
        elif what == 3:
            made[at:end] = rng.choice(TOKENS)
        elif what == 4:
            made[at:end] = rng.randbytes(end - at)
        elif what == 5:
            made[at:at] = made[at:end]
        else:
            other = rng.choice(others)
            made[at:] = other[rng.randrange(len(other) + 1) :]
    return bytes(made[:100_000])


@contextmanager
def lines_reached(reached: set[tuple[str, int]]) -> Iterator[None]:
    """Note the lines of our readers that run meanwhile."""

    def line(frame: FrameType, event: str, _: Any) -> Any:
        reached.add((frame.f_code.co_filename, frame.f_lineno))
        return line

    def call(frame: FrameType, event: str, _: Any) -> Any:
        return line if any(part in frame.f_code.co_filename for part in _WATCHED) else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        yield
    finally:
        sys.settrace(before)


def fuzz(read: Callable[[bytes], None], seeds: list[bytes], seconds: float) -> tuple[int, int]:
    """Feed a reader for so long; return how many inputs there were, and how many of them reached something new."""
    rng = random.Random(1)
    known: set[tuple[str, int]] = set()
    corpus = list(seeds)
    for seed in seeds:
        with lines_reached(known):
            read(seed)
    count, until = 0, time.monotonic() + seconds
    while time.monotonic() < until or count < 500:
        data = mutated(rng.choice(corpus), rng, seeds)
        count += 1
        reached: set[tuple[str, int]] = set()
        try:
            with lines_reached(reached):
                read(data)
        except BaseException as error:
            error.add_note(f"on input {count}: {data!r}")
            raise
        if not reached <= known:
            known |= reached
            corpus.append(data)
    return count, len(corpus) - len(seeds)


def same(one: Any, other: Any) -> bool:
    """Tell whether two are equal, NaN being itself."""
    return repr(one) == repr(other)


def an_event(data: bytes) -> None:
    try:
        event = read_event(data)
    except CodecError:
        return
    assert same(read_event(event.encode()), event)


def a_label(data: bytes) -> None:
    try:
        label = read_label(data)
    except CodecError:
        return
    assert same(read_label(label.encode()), label)


def outcome_of(read: Callable[[bytes], Any], data: bytes) -> str:
    try:
        return repr(read(data))
    except CodecError:
        return "refused"


class Entries:
    """A reader as a learner has it, which has learned what the stream's entries look like."""

    def __init__(self) -> None:
        self.reader = EntryReader()

    def __call__(self, data: bytes) -> None:
        assert outcome_of(self.reader.read, data) == outcome_of(lambda given: entry_of(read_example(given)), data)


class Predictions:
    def __init__(self) -> None:
        self.reader = PredictionReader()

    def __call__(self, data: bytes) -> None:
        expected = outcome_of(lambda given: read_prediction(given).event.features, data)
        assert outcome_of(self.reader.features, data) == expected
        refused = "refused" if expected == "refused" else repr(None)
        assert outcome_of(self.reader.check, data) == refused


def a_manifest(data: bytes) -> None:
    try:
        body, key_id, signature = unseal(data)
        assert seal(body, key_id, signature) == data
        manifest = decode_manifest(body)
    except Damaged:
        return
    assert encode_manifest(manifest) == body


def anything_else(data: bytes) -> None:
    for read in (read_model_update, read_dead_letter):
        outcome_of(read, data)


def a_typed_label(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    for target in (Target(task="binary"), Target(task="multiclass"), Target(task="regression")):
        try:
            value = parse_label(text, target)
        except TargetError:
            continue
        assert isinstance(value, (bool, int, float, str))


def sealed() -> bytes:
    made = draft(version(1, 100), metrics={"progressive": {"all": {"ROCAUC": 0.5, "F1": None}}}, parent=version(1, 50))
    fields = {name: getattr(made, name) for name in type(made).__struct_fields__}
    body = encode_manifest(Manifest(**fields, libraries=libraries(), files={"model": FileRef("0" * 64, 5)}))
    return seal(body, SIGNER.key_id, SIGNER.sign(signed_bytes(body, SIGNER.key_id)))


def examples() -> list[bytes]:
    others = (
        Example(EVENT, OUTCOME, LABEL, LANE, JOINED),
        Example(PLAIN, None, LABEL, Lane("import-1", "x", 0), None),
        Example(PLAIN, OUTCOME, None, LANE, None),
        Example(PLAIN, OUTCOME, Label("e2", 2.5, 5, weight=3.0, kind="correction"), LANE, JOINED),
    )
    return [Example(PLAIN, OUTCOME, LABEL, LANE, JOINED).encode(), *(other.encode() for other in others)]


def a_prediction(event: Event) -> bytes:
    fields = {name: getattr(OUTCOME, name) for name in OUTCOME.__struct_fields__}
    return codec.PREDICTION.header + event.encode()[HEADER_BYTES:] + b"\x02" + codec.OUTCOME.encode_body(fields)


JSON_EVENT: Final = b'{"event_id": "e", "event_time": 5, "features": {"a": 1, "b": "x", "c": [1.5], "d": null}}'
READERS: Final[dict[str, tuple[Callable[[], Callable[[bytes], None]], Callable[[], list[bytes]]]]] = {
    "event": (lambda: an_event, lambda: [EVENT.encode(), PLAIN.encode(), JSON_EVENT]),
    "label": (
        lambda: a_label,
        lambda: [LABEL.encode(), Label("e", "class", 5).encode(), b'{"event_id": "e", "value": 1.5, "weight": 2}'],
    ),
    "manifest": (lambda: a_manifest, lambda: [sealed()]),
    "example": (Entries, examples),
    "prediction": (Predictions, lambda: [a_prediction(PLAIN), a_prediction(EVENT)]),
    "typed label": (lambda: a_typed_label, lambda: [b"true", b"1", b"-2.5e3", b"class", b"0.0"]),
    "decision": (
        lambda: anything_else,
        lambda: [
            ModelUpdate(5, Published("m", 0, 1, 5, "t", 7, "0" * 64, 1, 2, {"F1": 0.5})).encode(),
            ModelUpdate(5, Serving("m", 0, 1, 5, "ann", "why")).encode(),
        ],
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_bytes_made_from_valid_ones_are_read_or_refused(name: str, rounds: Callable[[int, int], int]) -> None:
    make, seeds = READERS[name]
    # Ten minutes for what anybody may send, and for what a stranger may have put into the store.
    count, found = fuzz(make(), seeds(), rounds(2, 600 if name in ("event", "label", "manifest") else 120))
    print(f"{name}: {count} inputs, {found} of them reached something new")
    assert count >= 500


def test_the_fuzzer_finds_what_is_there_to_be_found() -> None:
    """A reader that goes wrong three conditions deep, each of which has to be found first."""

    def fragile(data: bytes) -> None:
        _three_deep(data)

    with pytest.raises(ZeroDivisionError) as found:
        fuzz(fragile, [b"....................\xc3\x01...."], 60)
    assert "on input" in found.value.__notes__[0]


def _three_deep(data: bytes) -> None:
    if len(data) > 30 and b"[" in data:
        raise ZeroDivisionError
