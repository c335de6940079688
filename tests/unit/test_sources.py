"""Rows from files and from River's data sets."""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.column_guess import ColumnGuess
from producers.csv_file import CsvFile
from producers.file_formats import BadRow, SourceError, SourceRow, SourceSpec, open_source
from schemas.contract import Contract, Feature
from schemas.events import Event
from schemas.target import Target

BINARY = SourceSpec(target=Target(task="binary"))

Write = Callable[..., Path]
_LONG = st.integers(min_value=-(2**63), max_value=2**63 - 1)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def _write(content: str | bytes, name: str = "data.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return _write


def read(path: Path | str, spec: SourceSpec = BINARY) -> list[SourceRow]:
    return list(open_source(path, spec).rows())


def test_csv_columns_get_the_type_that_all_their_cells_have(write: Write) -> None:
    path = write(
        'n,x,b,s,zip,v,label\n1,1.5,true,a,01234,"[1, 2]",1\n,2,False,,99999,,0\n-3,nan,,"x, y",00001,"[0.5]",1\n'
    )
    first, second, third = read(path)
    assert first.features == {"n": 1, "x": 1.5, "b": True, "s": "a", "zip": "01234", "v": [1.0, 2.0]}
    assert second.features == {"n": None, "x": 2.0, "b": False, "s": None, "zip": "99999", "v": None}
    assert third.features == {"n": -3, "x": None, "b": None, "s": "x, y", "zip": "00001", "v": [0.5]}
    assert [type(row.features["x"]) for row in (first, second)] == [float, float]
    assert [row.label for row in (first, second, third)] == [1, 0, 1]


def test_the_contract_decides_over_the_looks_of_a_column(write: Write) -> None:
    path = write("code,flag,n,raw,label\n7,1,3.0,aGk=,1\n8,no,4,,0\n")
    contract = Contract(
        features={
            "code": Feature(type="string"),
            "flag": Feature(type="boolean"),
            "n": Feature(type="integer"),
            "raw": Feature(type="bytes"),
        }
    )
    rows = read(path, SourceSpec(target=Target(task="binary"), contract=contract))
    assert [row.features for row in rows] == [
        {"code": "7", "flag": True, "n": 3, "raw": b"hi"},
        {"code": "8", "flag": False, "n": 4, "raw": None},
    ]


def test_without_an_id_column_ids_say_file_row_and_content_and_stay_the_same(write: Write) -> None:
    path = write("x,label\n1,1\n1,1\n2,0\n", "clicks.csv")
    ids = [row.event_id for row in read(path)]
    assert ids == [row.event_id for row in read(path)]
    assert len(set(ids)) == 3
    assert [event_id.rsplit("-", 1)[0] for event_id in ids] == ["clicks-1", "clicks-2", "clicks-3"]
    write("x,label\n1,1\n1,0\n2,0\n", "clicks.csv")
    changed = [row.event_id for row in read(path)]
    assert [old == new for old, new in zip(ids, changed, strict=True)] == [True, False, True]


def test_id_columns_name_the_event_and_are_no_features(write: Write) -> None:
    path = write("user,n,x,label\na/b,c,1,1\na,b/c,2,0\n007,1,3,1\n")
    one = read(path, SourceSpec(id="user"))
    assert [row.event_id for row in one] == ["a/b", "a", "007"]
    assert list(one[0].features) == ["n", "x"]
    two = read(path, SourceSpec(id=("user", "n")))
    assert [row.event_id for row in two] == ["a%2Fb/c", "a/b%2Fc", "007/1"]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("1700000000000", 1_700_000_000_000),
        ("2023-11-14T22:13:20Z", 1_700_000_000_000),
        ("2023-11-14 23:13:20+01:00", 1_700_000_000_000),
        ("2023-11-14T22:13:20.250", 1_700_000_000_250),
        ("2023-11-14", 1_699_920_000_000),
        ("20231114", 20_231_114),
    ],
)
def test_times_are_iso_8601_or_ms(write: Write, cell: str, expected: int) -> None:
    assert read(write(f"at,x,label\n{cell},1,1\n"), SourceSpec(time="at"))[0].event_time_ms == expected


def test_without_a_time_column_an_event_is_of_when_it_was_read(write: Write) -> None:
    before = datetime.now(UTC).timestamp() * 1000 - 1
    when = read(write("x,label\n1,1\n"))[0].event_time_ms
    assert before <= when <= datetime.now(UTC).timestamp() * 1000 + 1


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_byte_order_mark_semicolons_blank_lines_and_line_breaks_in_cells(write: Write, end: str) -> None:
    text = end.join(["x;t;label", "1;a;1", "", f'2;"b{end}c";0', "3;d;1", ""])
    rows = read(write(b"\xef\xbb\xbf" + text.encode()))
    assert [row.features["x"] for row in rows] == [1, 2, 3]
    assert rows[1].features["t"] == f"b{end}c"
    assert [row.line for row in rows] == [2, 4, 6]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,label\n1,1\n1,2,3\n", "line 3: 3 columns; the header has 2"),
        ("x,label\n1,1\ninf,0\n", "line 3: column 'x': inf is not finite"),
        ("x,label\n1,1\n1,maybe\n", "line 3: the label is 'maybe'"),
        ('x,label\n1,1\n"1"2,0\n', "line 3: not CSV"),
        ("x,label\n1,1\n2,2\n", "line 3: the label is 2: neither a boolean nor 0 or 1"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(write: Write, text: str, message: str) -> None:
    path = write(text)
    with pytest.raises(BadRow) as caught:
        read(path)
    assert f"{path}, {message}" in str(caught.value)


def test_a_cell_unlike_the_looks_of_its_column_says_how_to_take_it(write: Write) -> None:
    path = write("x,label\n" + "1,1\n" * 10_000 + "abc,0\n")
    with pytest.raises(BadRow, match=r"line 10002: column 'x': 'abc' is not a number .*features=\{'x': 'string'\}"):
        read(path)


def test_bad_rows_can_be_collected_and_the_rest_goes_on(write: Write) -> None:
    path = write(b"x,label\n1,1\n\xff\xfe,1\n3\n4,0\n")
    bad: list[BadRow] = []
    rows = list(open_source(path, SourceSpec(target=Target(task="binary"))).rows(bad.append))
    assert [(row.row_number, row.line) for row in rows] == [(1, 2), (4, 5)]
    assert [(each.line, each.reason) for each in bad] == [
        (3, "not UTF-8 (Latin-1, perhaps): save the file as UTF-8"),
        (4, "1 columns; the header has 2"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\xff\xfex\x00", "is UTF-16"),
        (b"a,a,label\n", "two columns are named 'a'"),
        (b",a,label\n", "column 1 has no name"),
        (b"a,b\n1,2\n", r"has no column 'label' \(the label\); it has: a, b"),
        (b"\xff,a\n", "line 1: not UTF-8"),
    ],
)
def test_a_csv_that_cannot_be_read_at_all_says_why(write: Write, content: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        read(write(content))


def test_what_is_no_source_says_so(tmp_path: Path, write: Write) -> None:
    for place, message in [
        (tmp_path / "none.csv", "does not exist"),
        (tmp_path, "is not a file"),
        (write("", "x.xls"), "name it by what it holds"),
        ("river:Elec2", "has to be downloaded"),
        ("river:Nonsense", "is no data set of River"),
        ("river:Yeast", "has several outputs"),
    ]:
        with pytest.raises(SourceError, match=message):
            open_source(place)


def test_a_label_is_optional_where_the_spec_says_so_and_in_any_one_row(write: Write) -> None:
    path = write("x\n1\n")
    assert read(path, SourceSpec(label_required=False))[0].label is None
    assert [row.label for row in read(write("x,label\n1,\n2,1\n"))] == [None, 1]
    assert read(write("x\n1\n"), SourceSpec(label=None))[0].features == {"x": 1}


@pytest.mark.parametrize(
    ("target", "label"),
    [
        (Target(task="binary", positive="1"), "1"),
        (Target(task="multiclass", classes=("1", "2")), "1"),
        (Target(task="multiclass"), 1),
        (Target(task="regression"), 1.0),
    ],
)
def test_a_label_in_text_is_read_as_the_target_compares_it(write: Write, target: Target, label: object) -> None:
    found = read(write("x,label\n1,1\n2,2\n"), SourceSpec(target=target))[0].label
    assert found == label
    assert type(found) is type(label)


def test_count_is_the_number_of_rows(write: Write) -> None:
    assert open_source(write("x,label\n1,1\n2,0\n\n")).count() == 2
    assert open_source(write('{"x": 1}\n{"x": 2}\n', "x.jsonl")).count() == 2
    assert open_source("river:Bananas").count() == 5300


def test_gzip_is_read_as_what_is_in_it(write: Write) -> None:
    path = write(gzip.compress(b"x,label\n1,1\n"), "a.csv.gz")
    (row,) = read(path)
    assert row.features == {"x": 1}
    assert row.event_id.startswith("a-1-")
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(SourceError, match="cannot be read after line"):
        read(path)


def test_json_lines_keep_their_types(write: Write) -> None:
    path = write('{"x": 1, "y": 2.5, "s": "é", "v": [1, 2], "n": null, "label": true, "id": 17}\n\n', "a.jsonl")
    (row,) = read(path, SourceSpec(target=Target(task="binary"), id="id"))
    assert row.features == {"x": 1, "y": 2.5, "s": "é", "v": [1.0, 2.0], "n": None}
    assert (row.event_id, row.label, row.line) == ("17", True, 1)


def test_json_ids_do_not_depend_on_the_order_of_names(write: Write) -> None:
    one = read(write('{"x": 1, "label": 1}\n', "a.jsonl"))[0].event_id
    assert read(write('{"label": 1,   "x": 1}\n', "a.jsonl"))[0].event_id == one


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"x": ', "line 2: not a JSON object"),
        ("[1]", "line 2: not a JSON object"),
        ('{"x": NaN, "label": 1}', "line 2: not a JSON object: .*write null"),
        ('{"x": {"y": 1}, "label": 1}', "line 2: feature 'x' is an object"),
        ('{"x": ["a"], "label": 1}', "line 2: feature 'x' is a list that holds 'a'"),
        ('{"x": 9223372036854775808, "label": 1}', "line 2: feature 'x' is 9223372036854775808, beyond 64 bits"),
        ('{"x": 1, "label": {"a": 1}}', "line 2: the label is dict"),
        ('{"x": 1, "label": "?"}', "line 2: the label is '\\?'"),
    ],
)
def test_a_bad_json_line_is_named(write: Write, line: str, message: str) -> None:
    path = write('{"x": 1, "label": 1}\n' + line + "\n", "a.jsonl")
    with pytest.raises(BadRow, match=message):
        read(path)


def test_json_that_is_no_json_lines_and_missing_columns_are_refused(write: Write) -> None:
    with pytest.raises(SourceError, match="one JSON array"):
        read(write('[{"x": 1}]', "a.json"))
    with pytest.raises(SourceError, match=r"no column 'label' \(the label\); it has: x"):
        read(write('{"x": 1}\n', "a.jsonl"))
    with pytest.raises(BadRow, match="line 2: the id column 'id' is empty"):
        read(write('{"x": 1, "id": 1, "label": 1}\n{"x": 1, "label": 1}', "a.jsonl"), SourceSpec(id="id"))


AVRO = {
    "type": "record",
    "name": "Click",
    "fields": [
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "x", "type": ["null", "double"]},
        {"name": "colour", "type": {"type": "enum", "name": "Colour", "symbols": ["red", "blue"]}},
        {"name": "raw", "type": "bytes"},
        {"name": "label", "type": "boolean"},
    ],
}


def write_avro(path: Path, rows: int) -> Path:
    at = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    records = [{"at": at, "x": float(n), "colour": "red", "raw": b"\0", "label": n % 2 == 0} for n in range(rows)]
    with path.open("wb") as file:
        fastavro.writer(file, AVRO, records, sync_interval=500)
    return path


def test_avro_files_give_their_records(tmp_path: Path) -> None:
    path = write_avro(tmp_path / "a.avro", 100)
    rows = read(path, SourceSpec(target=Target(task="binary"), time="at"))
    assert len(rows) == open_source(path).count() == 100
    assert rows[3].features == {"x": 3.0, "colour": "red", "raw": b"\0"}
    assert (rows[3].label, rows[3].event_time_ms) == (False, 1_700_000_000_000)
    assert read(path)[0].features["at"] == 1_700_000_000_000


def test_a_damaged_avro_file_is_named(tmp_path: Path, write: Write) -> None:
    with pytest.raises(SourceError, match="is not an Avro container file"):
        read(write(b"nothing", "a.avro"))
    path = write_avro(tmp_path / "b.avro", 100)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(SourceError, match="cannot be read at record"):
        read(path)


@pytest.mark.parametrize("name", ["Phishing", "bananas", "ImageSegments", "TrumpApproval", "ChickWeights"])
def test_river_data_sets_give_all_their_rows(name: str) -> None:
    source = open_source(f"river:{name}", SourceSpec(label="target"))
    rows = list(source.rows())
    assert len(rows) == source.count()
    assert len({row.event_id for row in rows}) == len(rows)
    assert all(row.label is not None and "target" not in row.features for row in rows)


def test_river_rows_are_as_river_gives_them() -> None:
    from river import datasets

    rows = read("river:Phishing", SourceSpec(label="is_phishing", target=Target(task="binary")))
    assert [(row.features, row.label) for row in rows] == list(datasets.Phishing())


CELLS = st.one_of(st.none(), st.integers(-(1 << 63), (1 << 63) - 1), st.booleans(), st.floats(allow_infinity=False))
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)


@given(st.lists(st.one_of(CELLS, TEXT), min_size=1, max_size=20))
def test_json_round_trip(tmp_path_factory: pytest.TempPathFactory, values: list[object]) -> None:
    values = [None if isinstance(value, float) and math.isnan(value) else value for value in values]
    path = tmp_path_factory.mktemp("json") / "a.jsonl"
    path.write_text("".join(json.dumps({"x": value}) + "\n" for value in values))
    rows = read(path, SourceSpec(label=None))
    assert [row.features["x"] for row in rows] == values
    assert all(Event(row.event_id, row.event_time_ms, row.features).encode() for row in rows)


@given(st.lists(TEXT, min_size=1, max_size=20))
def test_csv_text_round_trip(tmp_path_factory: pytest.TempPathFactory, values: list[str]) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["n", "x"], *([n, value] for n, value in enumerate(values))])
    contract = Contract(features={"x": Feature(type="string")})
    rows = read(path, SourceSpec(label=None, contract=contract))
    assert [row.features["x"] for row in rows] == [value or None for value in values]


@given(
    st.one_of(
        st.lists(st.one_of(_LONG, st.floats(allow_infinity=False), st.none()), min_size=1),
        st.lists(st.one_of(st.integers(), st.none()), min_size=1),
    )
)
def test_csv_numbers_round_trip(tmp_path_factory: pytest.TempPathFactory, values: list[float | None]) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["n", "x"], *([n, value] for n, value in enumerate(values))])
    found = [row.features["x"] for row in read(path, SourceSpec(label=None))]
    for value, read_back in zip(values, found, strict=True):
        if value is None or math.isnan(value):
            assert read_back is None
        else:
            # Whole numbers that a double may round are exact; where 64 bits do not hold all, the column is text.
            assert read_back in ((str(value),) if isinstance(read_back, str) else (value, float(value)))
            assert isinstance(value, float) or abs(value) <= 2**53 or read_back in (value, str(value))


@given(st.lists(st.sampled_from(["1", "-2", "2.5", "1e3", "", "nan", "true", "01", "x", "[1]", "9" * 30]), min_size=1))
def test_the_type_of_a_column_does_not_depend_on_the_order_of_its_cells(cells: list[str]) -> None:
    kinds = set()
    for order in (cells, cells[::-1], sorted(cells)):
        guess = ColumnGuess()
        for cell in order:
            guess.add(cell)
        kinds.add(guess.kind)
    assert len(kinds) == 1


def test_a_csv_is_read_again_in_the_same_way(write: Write) -> None:
    source = CsvFile(write("x,label\n1,1\n2,0\n"), BINARY)
    assert [row.event_id for row in source.rows()] == [row.event_id for row in source.rows()]
