"""Records read quickly are those that kafka-python reads, and damage is noticed as kafka-python notices it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from runtime.kafka_client.kafka_python.quick_records import QuickRecord, by_client, records_of

BEGAN_MS = 1_700_000_000_000
Read = Callable[[Any], Iterator[Any]]
RECORD = st.tuples(
    st.integers(0, 20_000),  # ms after the first
    st.none() | st.binary(max_size=80),
    st.none() | st.binary(max_size=300) | st.integers(8_150, 8_250).map(bytes),
    st.lists(st.tuples(st.text(max_size=3), st.none() | st.binary(max_size=3)), max_size=2),
)


def batch_of(records: list[Any], *, codec: int = 0, first: int = 0) -> bytearray:
    builder = DefaultRecordBatchBuilder(2, codec, True, 7, 1, 0, 1 << 22)
    for number, (later, key, value, headers) in enumerate(records):
        assert builder.append(first + number, BEGAN_MS + later, key, value, headers)
    return bytearray(builder.build())


def read(data: bytearray, by: Read) -> list[tuple[Any, ...]]:
    names = [*QuickRecord._fields, "checksum"]
    return [
        (*(getattr(record, name) for name in names), record.validate_crc()) for record in by(DefaultRecordBatch(data))
    ]


@given(st.lists(RECORD, min_size=1, max_size=20), st.sampled_from([0, 1]), st.integers(0, 10_000), st.booleans())
def test_both_read_the_same_records(records: list[Any], codec: int, first: int, appended: bool) -> None:
    data = batch_of(records, codec=codec, first=first)
    if appended:
        data[22] |= 0x08  # the broker's time for all
    assert read(data, records_of) == read(data, by_client)


@given(st.lists(RECORD, min_size=1, max_size=4), st.data())
def test_both_notice_the_same_damage(records: list[Any], data: st.DataObject) -> None:
    damaged = batch_of(records)
    at = data.draw(st.integers(DefaultRecordBatch.HEADER_STRUCT.size, len(damaged) - 1))
    damaged[at] = data.draw(st.integers(0, 255))
    assert outcome(damaged, records_of) == outcome(damaged, by_client)


def outcome(data: bytearray, by: Read) -> object:
    try:
        return read(data, by)
    except (CorruptRecordError, UnicodeDecodeError, MemoryError) as error:
        return type(error), str(error)


def test_plain_records_are_read_here_and_others_by_the_client() -> None:
    plain, headed = (1, b"k", b"v", []), (2, b"k", b"v", [("h", b"x")])
    found = list(records_of(DefaultRecordBatch(batch_of([plain, headed, plain]))))
    assert [type(each) is QuickRecord for each in found] == [True, False, True]


def test_a_batch_with_more_than_its_records_is_refused() -> None:
    data = batch_of([(1, b"k", b"v", [])]) + b"\0"
    with pytest.raises(CorruptRecordError, match="unconsumed"):
        read(data, records_of)


def test_the_marker_of_a_transaction_is_left_to_the_client() -> None:
    data = batch_of([(0, b"\0\0\0\1", b"\0\0\0\0\0\0", [])])
    data[22] |= 0x20
    [marker] = records_of(DefaultRecordBatch(data))
    assert not isinstance(marker, QuickRecord)
    assert marker.commit
