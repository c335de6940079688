"""Whole numbers of 64 bits stay what they are on every way in and on, and what would be rounded is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import fastavro
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.model.log_edits import Editor, Edits
from consumers.model.river_model import Answer
from consumers.predictor.fast_outcomes import OutcomeWriter
from producers.cell_types import NotAValue, reader
from producers.file_formats import BadRow, SourceError, SourceSpec, open_source
from runtime.kafka_client.records import Partition
from schemas import codec
from schemas.codec import CodecError
from schemas.contract import Contract, Feature
from schemas.events import Event, Example, Joined, Label, Lane, Outcome, read_event, read_label
from schemas.fast_examples import EntryReader
from schemas.sources.decoding import decoder
from schemas.sources.event_mapping import EventMapping
from schemas.sources.label_mapping import LabelMapping
from schemas.sources.message_fields import Unmapped
from schemas.sources.source import Constant, InvalidSource, Source

ID = 1234567890123456001  # as Discord's and Twitter's are: the double next to it is ...000
LONGEST, SHORTEST = 2**63 - 1, -(2**63)
LONG = st.integers(min_value=SHORTEST, max_value=LONGEST)
Write = Callable[[str], Path]


class Sent(NamedTuple):
    value: bytes
    topic: str = "t"
    partition: int = 0
    offset: int = 0
    timestamp: int = 1
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str) -> Path:
        path = tmp_path / "users.csv"
        path.write_text(text)
        return path

    return written


def rows(path: Path, contract: Contract | None = None, **spec: Any) -> list[dict[str, Any]]:
    found = open_source(path, SourceSpec(contract=contract or Contract(), label_required=False, **spec))
    return [row.features for row in found.rows()]


# --- files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [None, "integer", "number"])
def test_ids_of_a_csv_stay_as_many_as_they_are(write: Write, kind: Any) -> None:
    path = write("user,n\n" + "".join(f"{ID + number},{number}\n" for number in range(16)))
    contract = Contract() if kind is None else Contract(features={"user": Feature(type=kind)})
    assert [row["user"] for row in rows(path, contract)] == [ID + number for number in range(16)]


@given(LONG)
def test_a_cell_of_64_bits_is_the_number_that_it_says(number: int) -> None:
    for read in (reader("integer"), reader("integer", exact=True), reader(None), reader("number")):
        assert read(str(number)) == number


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        (str(2**63), "beyond 64 bits: a double would round it; keep it as text"),
        (str(SHORTEST - 1), "beyond 64 bits"),
        ("1.2345678901234561e18", "is written as a double, and one so large is rounded: write all its digits"),
        ("0.99999999999999999999", "is not a whole number"),
        ("1.5", "is not a whole number"),
    ],
)
def test_where_the_contract_says_integer_nothing_is_rounded_to_one(cell: str, says: str) -> None:
    with pytest.raises(NotAValue, match=says):
        reader("integer", exact=True)(cell)


def test_a_column_of_numbers_beyond_64_bits_is_text(write: Write) -> None:
    text = f"{2**64 + 1}"
    assert rows(write(f"user\n{text}\n7\n")) == [{"user": text}, {"user": "7"}]
    assert rows(write("x\n1e20\n0.5\n")) == [{"x": 1e20}, {"x": 0.5}]


def test_one_beyond_64_bits_among_others_is_named_with_its_line_and_the_way_out(write: Write) -> None:
    path = write("x\n" + "0.5\n" + f"{2**64}\n")
    with pytest.raises(BadRow, match=r"users.csv, line 3: column 'x': its value is 18446744073709551616, beyond 64"):
        rows(path)


def test_a_list_that_doubles_would_round_is_refused(write: Write) -> None:
    assert rows(write('v\n"[1, 2.5, 1234567890123456000, 1e300]"\n')) == [
        {"v": [1.0, 2.5, 1234567890123456000.0, 1e300]}
    ]
    with pytest.raises(BadRow, match=f"holds {ID} at 1: a vector holds doubles"):
        rows(write(f'v\n"[1, {ID}]"\n'))


def test_files_with_types_keep_decimals_without_places(tmp_path: Path) -> None:
    fields = [
        {"name": "user", "type": {"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 0}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 2}},
    ]
    path = tmp_path / "a.avro"
    with path.open("wb") as file:
        schema = {"type": "record", "name": "R", "fields": fields}
        fastavro.writer(file, schema, [{"user": Decimal(ID), "price": Decimal("12.50")}])
    assert rows(path) == [{"user": ID, "price": 12.5}]


def test_a_double_is_no_id_where_it_may_be_rounded(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"user": {ID}.0, "x": 1}}\n')
    with pytest.raises(BadRow, match=r"the id column 'user' holds .* a double that may be rounded"):
        rows(path, id="user")


@pytest.mark.parametrize("named", [{"time": "at"}, {"id": "at"}, {"label": "at"}])
def test_a_column_cannot_be_a_required_feature_and_something_else(write: Write, named: dict[str, str]) -> None:
    contract = Contract(features={"at": Feature(type="string", required=True)})
    with pytest.raises(SourceError, match=r"'at' is the .*, so it is no feature, and features= requires it"):
        rows(write("at,x\n2024-01-01,1\n"), contract, **named)


# --- events ------------------------------------------------------------------------------------------


@given(LONG)
def test_an_event_keeps_its_number_from_json_to_the_log(number: int) -> None:
    data = json.dumps({"event_id": "e", "features": {"user": number, "x": 0.5}}).encode()
    event = read_event(data)
    assert event.features == read_event(event.encode()).features == {"user": number, "x": 0.5}
    answered = OutcomeWriter(("m", 1, 5), 9, Partition("t", 0)).write(Answer(number, None), 3)
    assert codec.OUTCOME.decode_body(answered)["prediction"] == number
    # What a learner reads of the log: at first by the Avro library, then by patterns.
    outcome = Outcome(number, None, "m", 1, 5, 9, "t", 0, 3)
    example = Example(event, outcome, Label("e", number, 7), Lane("0", "a", 1), Joined(0, 1, 2, 3, 4)).encode()
    entries = EntryReader()
    for _ in range(2):
        entry = entries.read(example)
        assert (entry.features["user"], entry.prediction, entry.label) == (number, number, number)


@pytest.mark.parametrize("number", [LONGEST + 1, SHORTEST - 1, 10**40])
def test_what_is_beyond_64_bits_is_refused_by_name(number: int) -> None:
    says = f"feature 'user' is {number}, beyond 64 bits: a double would round it; keep it as text"
    with pytest.raises(CodecError, match=says):
        read_event(json.dumps({"event_id": "e", "features": {"user": number}}).encode())
    with pytest.raises(CodecError, match=r"the label is .*, beyond 64 bits"):
        read_label(json.dumps({"event_id": "e", "value": number}).encode())
    with pytest.raises(CodecError, match="feature 'user' is a whole number beyond 64 bits"):
        Event("e", 1, {"user": number}).encode()
    with pytest.raises(CodecError, match="the label is a whole number beyond 64 bits"):
        Label("e", number, 1).encode()


def test_a_vector_in_json_is_not_rounded() -> None:
    data = b'{"event_id": "e", "features": {"v": [1, %d]}}'
    assert read_event(data % 1234567890123456000).features == {"v": [1.0, 1234567890123456000.0]}
    with pytest.raises(CodecError, match=f"feature 'v' holds {ID} at 1"):
        read_event(data % ID)


# --- topics of others ---------------------------------------------------------------------------------


def mapped(message: Any, **source: Any) -> Event:
    return EventMapping(Source(topic="t", **source), lambda data, headers: message).event(Sent(b"..."))


def test_decimals_of_others_without_places_are_whole_numbers() -> None:
    message = {"user": Decimal(ID), "price": Decimal("12.00"), "n": Decimal(7)}
    assert mapped(message).features == {"user": ID, "price": 12.0, "n": 7.0}
    with pytest.raises(Unmapped, match="beyond 64 bits"):
        mapped({"user": Decimal(2**63)})
    with pytest.raises(Unmapped, match=f"v holds {ID} at 0"):
        mapped({"v": [ID]})


def test_an_avro_decimal_of_an_id_is_exact() -> None:
    schema = {"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 0}
    for number in (ID, -ID, 2**70, 12):
        out = BytesIO()
        fastavro.schemaless_writer(out, fastavro.parse_schema(schema), Decimal(number))
        found = decoder(Source(topic="t", format="avro", schema=schema))(out.getvalue(), ())
        assert found == number
        assert isinstance(found, float if number == 12 else int)


def test_ids_of_others_are_exact_or_refused() -> None:
    assert mapped({"ref": ID, "x": 1}, id="ref").event_id == str(ID)
    assert mapped({"ref": 7.0, "x": 1}, id="ref").event_id == "7"
    with pytest.raises(Unmapped, match="a double that may be rounded; text keeps all digits"):
        mapped({"ref": float(ID), "x": 1}, id="ref")


def test_labels_of_others_are_exact_or_refused() -> None:
    mapping = LabelMapping(Source(topic="t", id="ref", value="owner"), lambda data, headers: msgspec.json.decode(data))

    def label(number: int) -> Any:
        found = mapping.label(Sent(json.dumps({"ref": "e", "owner": number}).encode()))
        return found.value if found is not None else None

    assert label(ID) == ID
    with pytest.raises(Unmapped, match="the label is 9223372036854775808, beyond 64 bits"):
        label(2**63)


def test_a_constant_that_no_long_holds_is_refused_where_it_is_written() -> None:
    with pytest.raises(InvalidSource, match=r"fields\['shop'\] is 9223372036854775808, beyond 64 bits"):
        Source(topic="t", fields={"shop": Constant(2**63)})


# --- forgetting --------------------------------------------------------------------------------------


def test_forgetting_one_id_leaves_its_neighbour_alone() -> None:
    editor = Editor(Edits(until=10, where={"user": str(ID)}), {})
    left_out = []
    for user in (ID - 1, ID, ID + 1):
        example = Example(Event("e", 1, {"user": user}), None, Label("e", True, 1), Lane("0", "a", 1), None)
        left_out.append(editor.read(Sent(example.encode()))[1])
    assert left_out == [False, True, False]
