"""Labels and examples by hand are, byte for byte, those of the Avro library; whatever is not plain goes through it."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.joiner.example_writer import ExampleWriter
from consumers.joiner.join_state import Emitted
from consumers.joiner.labels import EncodedLabel, LabelReader
from runtime.kafka_client import size_limits
from schemas import codec
from schemas.codec import HEADER_BYTES, CodecError
from schemas.events import Event, Label, LabelValue, Outcome, event_id_bytes, peek_event_id, read_label
from schemas.target import Target, TargetError

TARGETS = (
    Target(task="binary"),
    Target(task="binary", positive="yes"),
    Target(task="multiclass"),
    Target(task="multiclass", classes=("a", "é", "3", 7)),
    Target(task="regression"),
)
longs = st.integers(-(2**63), 2**63 - 1)
texts = st.text(max_size=70) | st.sampled_from(["a", "é", " a", "yes", "no", "1", "3", "True"])
values = st.booleans() | longs | st.integers(-2, 200) | st.floats() | st.sampled_from([0.0, -0.0, 3.0]) | texts
labels = st.builds(
    Label,
    st.text(max_size=80),
    values | st.dictionaries(st.text(max_size=3), st.floats(), max_size=2),
    longs | st.integers(1_700_000_000_000, 1_900_000_000_000),
    st.floats() | st.sampled_from([1.0, 2.5, 0.0, -0.0]),
    st.sampled_from(["system", "human", "import", "timeout"]),
    st.sampled_from(["label", "correction"]),
)


def by_library(target: Target, data: bytes) -> EncodedLabel:
    label = read_label(data)
    return EncodedLabel.of(msgspec.structs.replace(label, value=target.coerce(label.value)))


def answer(read: object, data: bytes) -> object:
    """Return what a reader makes of the bytes, in a form in which NaN equals NaN and 1 is not True."""
    try:
        found = read(data)  # type: ignore[operator]
    except (CodecError, TargetError) as error:
        return type(error)
    return repr(found)


def damaged(data: bytes, at: int, byte: int) -> bytes:
    at = min(at, len(data) - 1)
    return data[:at] + bytes([byte]) + data[at + 1 :]


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from(TARGETS),
    st.lists(st.tuples(labels, st.integers(0, 60), st.integers(0, 255)), min_size=1, max_size=5),
)
def test_a_label_keeps_its_bytes_only_where_the_library_would_write_the_same(
    target: Target, sent: list[tuple[Label, int, int]]
) -> None:
    reader = LabelReader(target)
    for label, at, byte in sent:
        data = codec.LABEL.encode(msgspec.structs.asdict(label))
        for each in (data, data, damaged(data, at, byte), data[:at], data + b"\0"):
            expected = answer(lambda given: by_library(target, given), each)
            assert answer(lambda given: reader.read(given, 0), each) == expected


@pytest.mark.parametrize(
    ("value", "target"), [(True, TARGETS[0]), ("é", TARGETS[3]), (7, TARGETS[2]), (-300, TARGETS[2]), (2.5, TARGETS[4])]
)
def test_an_ordinary_label_is_plain(value: LabelValue, target: Target) -> None:
    reader = LabelReader(target)
    for _ in range(2):
        found = reader.plain(Label("e1", value, 1_800_000_000_000).encode())
        assert found == EncodedLabel.of(Label("e1", value, 1_800_000_000_000))


@pytest.mark.parametrize(("value", "target"), [(1, TARGETS[0]), ("no", TARGETS[1]), (3.0, TARGETS[2]), (3, TARGETS[4])])
def test_a_label_that_the_target_changes_is_not_plain(value: LabelValue, target: Target) -> None:
    reader = LabelReader(target)
    data = Label("e1", value, 5).encode()
    assert [reader.plain(data) for _ in range(2)] == [None, None]
    assert reader.read(data, 0).value == target.coerce(value)


def test_a_longer_form_of_the_same_number_is_not_plain() -> None:
    """The library reads a varint with a byte too many, and writes it without."""
    data = Label("e1", True, 5).encode()
    longer = data[:-3] + b"\x8a\x00" + data[-2:]
    reader = LabelReader(TARGETS[0])
    assert read_label(longer) == read_label(data)
    assert reader.plain(longer) is None
    assert reader.read(longer, 0).encode() == data


def test_json_and_too_large_labels_are_read_as_before() -> None:
    reader = LabelReader(TARGETS[0])
    assert reader.read(b'{"event_id": "e1", "value": 1}', 7) == EncodedLabel.of(Label("e1", True, 7))
    with pytest.raises(CodecError, match="at most"):
        reader.read(Label("e1", "x" * size_limits.LABEL, 5).encode(), 0)


@given(labels)
def test_an_encoded_label_decodes_to_itself(label: Label) -> None:
    encoded = EncodedLabel.of(label)
    assert repr(encoded.decoded()) == repr(label)
    first = encoded.as_first()
    assert repr(first) == repr(EncodedLabel.of(msgspec.structs.replace(label, kind="label")))
    assert encoded.key() == f"{type(label.value).__name__}:{label.value!r}".encode()


def prediction() -> bytes:
    outcome = Outcome(True, {"true": 0.75, "false": 0.25}, "m", 1, 7, 5, "m.features", 0, 1)
    fields = msgspec.structs.asdict
    return codec.PREDICTION.encode({"event": fields(Event("e1", 5, {"x": 1.0})), "outcome": fields(outcome)})


@given(
    st.none() | labels,
    st.integers(0, 2**31 - 1),
    st.text(max_size=20),
    st.tuples(longs, longs, longs, longs, longs),
)
def test_an_example_has_the_bytes_of_the_library(
    label: Label | None, partition: int, epoch: str, numbers: tuple[int, ...]
) -> None:
    sequence, *joined = numbers
    encoded = None if label is None else EncodedLabel.of(label)
    written = ExampleWriter(partition, epoch).write(Emitted(prediction(), encoded, *joined[:2], *joined[2:]), sequence)
    names = ("prediction_offset", "prediction_time", "label_offset", "label_time")
    tail = codec.EXAMPLE_TAIL.encode_body(
        {
            "label": None if label is None else msgspec.structs.asdict(label),
            "lane": {"name": str(partition), "epoch": epoch, "sequence": sequence},
            "joined": {"partition": partition, **dict(zip(names, joined, strict=True))},
        }
    )
    assert written == codec.EXAMPLE.header + prediction()[HEADER_BYTES:] + tail


@given(st.binary(max_size=200) | st.text(max_size=100).map(codec.string))
def test_an_id_in_bytes_is_the_id_in_text(body: bytes) -> None:
    data = codec.EVENT.header + body
    try:
        expected = peek_event_id(data)
    except CodecError:
        with pytest.raises(CodecError):
            event_id_bytes(data)
    else:
        assert event_id_bytes(data) == expected.encode()


@given(st.integers(-(2**64), 2**64) | st.integers(-40_000, 40_000))
def test_a_varint_has_seven_bits_in_each_byte(value: int) -> None:
    zigzag = 2 * value if value >= 0 else -2 * value - 1
    encoded = codec.long(value)
    assert sum((byte & 0x7F) << 7 * place for place, byte in enumerate(encoded)) == zigzag
    assert [byte > 0x7F for byte in encoded] == [True] * (len(encoded) - 1) + [False]
    assert len(encoded) == max(1, math.ceil(zigzag.bit_length() / 7))
