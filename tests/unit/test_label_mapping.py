"""Labels from messages of somebody else's: what is read, what says nothing yet, and what is refused and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from millstream import Labels, Source, Stream
from millstream.stream.errors import InvalidStream, LoadError
from millstream.stream.load import load_stream
from schemas.events import Label
from schemas.sources.decoding import decoder
from schemas.sources.label_mapping import LabelMapping
from schemas.sources.message_fields import Unmapped
from schemas.sources.source import InvalidSource
from schemas.target import Target, TargetError

NOW = 1_700_000_000_000


class Sent(NamedTuple):
    value: bytes | None
    key: bytes | None = b"customer-7"
    topic: str = "chargebacks"
    partition: int = 3
    offset: int = 5
    timestamp: int = NOW
    headers: tuple[tuple[str, bytes], ...] = ()


def chargebacks(**changes: Any) -> Source:
    return Source(**{"topic": "chargebacks", "id": "ref", "value": "status == 'fraud'", **changes})


def read(message: Mapping[str, Any] | bytes | None, **changes: Any) -> Label | None:
    source = chargebacks(**changes)
    value = msgspec.json.encode(message) if isinstance(message, Mapping) else message
    return LabelMapping(source, decoder(source)).label(Sent(value))


def test_a_message_becomes_a_label_of_its_event() -> None:
    assert read({"ref": "e1", "status": "fraud"}) == Label("e1", True, NOW)
    assert read({"ref": 17, "status": "ok"}) == Label("17", False, NOW)


def test_each_argument_finds_its_part() -> None:
    message = {"order": {"shop": 4, "number": "A7"}, "state": {"at": "2024-01-01T00:00:00Z", "loss": 2.5}, "w": 3}
    found = read(
        message, id=["order.shop", "order.number"], value="state.loss", time="state.at", weight="w", source="human"
    )
    assert found == Label("4:A7", 2.5, 1_704_067_200_000, 3.0, "human")


def test_a_source_that_wins_sends_corrections() -> None:
    found = read({"ref": "e1", "status": "fraud"}, source="human", wins=True)
    assert found is not None
    assert (found.source, found.kind) == ("human", "correction")


def test_a_function_says_what_the_label_is() -> None:
    def worst(message: Mapping[str, Any]) -> str | None:
        return max(message["grades"], default=None)

    grades = [{"ref": "e", "grades": ["b", "c", "a"]}, {"ref": "e", "grades": []}]
    assert [each and each.value for each in (read(message, value=worst) for message in grades)] == ["c", None]


@pytest.mark.parametrize("value", [True, 3, 2.5, "fraud", {"a": 1.0, "b": 0.5}])
def test_what_a_label_may_be(value: Any) -> None:
    found = read({"ref": "e1"}, value=lambda message: value)
    assert found is not None
    assert (type(found.value), found.value) == (type(value), value)


def test_decimals_are_numbers() -> None:
    assert read({"ref": "e1"}, value=lambda message: Decimal("2.50")) == Label("e1", 2.5, NOW)


@pytest.mark.parametrize("message", [{"ref": "e1"}, {"ref": "e1", "status": None}, {}, b"", None])
def test_what_says_nothing_yet_is_no_label_and_no_error(message: Any) -> None:
    assert read(message) is None


REFUSED = [
    ("codec", b"\x00\x01", {}),
    ("codec", b"{", {}),
    ("id", {"status": "fraud"}, {}),
    ("id", {"ref": None, "status": "fraud"}, {}),
    ("id", {"ref": [1], "status": "fraud"}, {}),
    ("id", {"ref": "x" * 1025, "status": "fraud"}, {}),
    ("codec", b'{"ref": "\\ud800", "status": "fraud"}', {}),
    ("time", {"ref": "e", "status": "fraud", "at": "yesterday"}, {"time": "at"}),
    ("time", {"ref": "e", "status": "fraud"}, {"time": "at"}),
    ("weight", {"ref": "e", "status": "fraud", "w": -1}, {"weight": "w"}),
    ("weight", {"ref": "e", "status": "fraud", "w": "2"}, {"weight": "w"}),
    ("weight", {"ref": "e", "status": "fraud", "w": True}, {"weight": "w"}),
    ("value", {"ref": "e", "status": ["fraud"]}, {"value": "status"}),
    ("value", {"ref": "e", "status": {"a": [1]}}, {"value": "status"}),
    ("value", {"ref": "e", "amount": "12"}, {"value": "amount > 10"}),
    ("value", b'{"ref": "e", "price": 1' + b"0" * 400 + b"}", {"value": "price"}),
    ("value", b'{"ref": "e", "price": {"a": 1' + b"0" * 400 + b"}}", {"value": "price"}),
    ("value", {"ref": "e"}, {"value": lambda message: 10**5000}),
    ("value", {"ref": "e"}, {"value": lambda message: Decimal("sNaN")}),
    ("value", {"ref": "e"}, {"value": lambda message: message["status"] == "fraud"}),
]


@pytest.mark.parametrize(("code", "message", "changes"), REFUSED)
def test_what_is_no_label_is_refused_with_the_part_that_is_wrong(code: str, message: Any, changes: Any) -> None:
    with pytest.raises(Unmapped) as refused:
        read(message, **changes)
    assert refused.value.code == code
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression", "anomaly"])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_whole_number_beyond_doubles_is_no_label_of_any_task(task: Any, sign: int) -> None:
    for digits in (400, 5000):
        with pytest.raises(TargetError, match=r"a whole number of \d+ bits"):
            Target(task=task).coerce(sign * 10**digits)


# --- in a stream file ------------------------------------------------------------------------------

WRONG = {
    "status = 'fraud'": "value=\"status = 'fraud'\" at character 8: a comparison is written ==",
    "__import__('os')": "at character 1",
}


@pytest.mark.parametrize("value", WRONG)
def test_a_comparison_that_does_not_parse_is_refused_when_the_file_loads(value: str, tmp_path: Path) -> None:
    path = tmp_path / f"bad_labels_{list(WRONG).index(value)}.py"
    path.write_text(
        "from river import linear_model\nfrom millstream import Labels, Source, Stream\n"
        'stream = Stream(name="bad", task="binary", model=linear_model.LogisticRegression,\n'
        f'    labels=Labels(sources=Source(topic="chargebacks", id="ref", value={value!r})))\n'
    )
    with pytest.raises(LoadError) as refused:
        load_stream(str(path))
    said = str(refused.value)
    assert f"{path}:4: InvalidSource: Source of labels on chargebacks: " in said
    assert WRONG[value] in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (lambda: chargebacks(id=None), "id= must name"),
        (lambda: chargebacks(id="a..b"), "is no path"),
        (lambda: chargebacks(value=None), "value= must say"),
        (lambda: chargebacks(time="]"), "is no path"),
        (lambda: chargebacks(weight=""), "is no path"),
        (lambda: chargebacks(fields={"a": "b"}), "are of features"),
        (lambda: [chargebacks(), chargebacks(start="end")], "the same start="),
        (lambda: "chargebacks", "must be a Source, such as Source(topic='chargebacks')"),
        (lambda: [{"topic": "chargebacks"}], "must be a Source"),
    ],
)
def test_sources_that_cannot_work_are_refused(labels: Callable[[], Any], said: str) -> None:
    with pytest.raises((InvalidSource, InvalidStream)) as refused:
        Labels(sources=labels())
    assert said in str(refused.value)


def test_a_stream_knows_the_topics_that_labels_come_from() -> None:
    def labels_from(*sources: Source) -> tuple[str, ...]:
        return Stream(name="s", task="binary", model=dict, labels=Labels(sources=sources)).labels_from

    assert labels_from(chargebacks(), chargebacks(value="True")) == ("chargebacks",)
    assert labels_from() == ()
    alone = Stream(name="s", task="binary", model=dict, labels=Labels(sources=chargebacks()))
    assert alone.labels_from == ("chargebacks",)
