"""One label, one spelling: a label is its class or is refused, by every way in, and never the other class."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import fastavro
import msgspec
import pytest
from river import linear_model, naive_bayes

from consumers.model.model_state import LearnerState, LearningRules
from millstream import Labels, Stream
from millstream.stream.errors import InvalidStream
from producers.file_formats import open_source
from producers.label import parse_label
from producers.rows import BadRow, SourceSpec
from schemas.codec import CodecError
from schemas.contract import Contract
from schemas.events import Event, Example, Label, Lane, read_label
from schemas.label_spelling import ByClass, Spellings
from schemas.sources.label_mapping import LabelMapping
from schemas.sources.source import Source
from schemas.target import Target, TargetError

BINARY = Target(task="binary")
TWO = Target(task="binary", positive=2)
TWO_AS_TEXT = Target(task="binary", positive="2")
FRAUD = Target(task="binary", positive="fraud")
INCOME = Target(task="binary", positive=">50K", classes=(">50K", "<=50K"))
LEVELS = Target(task="binary", positive=2, classes=(1, 2))
NUMBERS = Target(task="multiclass", classes=(1, 2))
TEXTS = Target(task="multiclass", classes=("1", "2", "b"))
OPEN = Target(task="multiclass")
NUMBER = Target(task="regression")

# As the table of docs/labels.md has it.
TAKEN: list[tuple[Target, list[Any], Any]] = [
    (BINARY, [True, 1, 1.0, "true", "TRUE", " true ", "1", "1.0", "yes"], True),
    (BINARY, [False, 0, 0.0, -0.0, "false", "0", "0.0", "No"], False),
    (TWO, [2, 2.0, "2", "2.0", " 2 ", "2e0", True], True),
    (TWO, [1, 3, 0, "3", "2.5", False], False),
    (TWO_AS_TEXT, [2, 2.0, "2", " 2", "2.0", True], True),
    (TWO_AS_TEXT, [1, "1", "x", False], False),
    (FRAUD, ["fraud", " fraud\n", True], True),
    (FRAUD, ["legit", "none", "fraudulent", False], False),
    (INCOME, [">50K", " >50K", True], True),
    (INCOME, ["<=50K", " <=50K ", False], False),
    (LEVELS, [2, "2", "2.0"], True),
    (LEVELS, [1, "1", 1.0], False),
    (NUMBERS, [2, "2", 2.0, "2.0", " 2 "], 2),
    (NUMBERS, [1, "1", True], 1),
    (TEXTS, ["2", 2, 2.0, " 2", "2.0"], "2"),
    (OPEN, ["a", " a "], "a"),
    (OPEN, [2, 2.0], 2),
    (OPEN, ["2"], "2"),
    (NUMBER, [2, 2.0], 2.0),
]
REFUSED: list[tuple[Target, list[Any], str]] = [
    (BINARY, [2, 0.5, "2", "maybe", "", "NA"], "neither a boolean nor 0 or 1"),
    (TWO, ["zwei", "two", "", "nan", "2 EUR"], "a text, and positive=2 is not"),
    (FRAUD, [1, 0, 2.5], "a number, and positive='fraud' is not"),
    (FRAUD, ["Fraud", "FRAUD", "fraud.", "'fraud'"], "almost positive='fraud'"),
    (FRAUD, ["NA", "NaN", "null", "None", "?"], "no label unless classes= names it"),
    (FRAUD, ["", "  "], "an empty text"),
    (INCOME, [">50K.", "<=50K.", "50K", "", 1, 0], "not in the class set"),
    (LEVELS, [3, "3", "zwei", 2.5], "not in the class set"),
    (NUMBERS, [3, "b", "02", ""], "not in the class set"),
    (TEXTS, ["c", 3, "B"], "not in the class set"),
    (OPEN, [2.5], "a class is a string"),
    (OPEN, ["", "  "], "an empty text"),
    (NUMBER, ["2", True], "not a number"),
    *[(each, [None], "it must be a number") for each in (BINARY, TWO, FRAUD, INCOME, NUMBERS, OPEN, NUMBER)],
]


@pytest.mark.parametrize(("target", "labels", "is_class"), TAKEN)
def test_a_label_is_its_class_by_any_spelling(target: Target, labels: list[Any], is_class: Any) -> None:
    for label in labels:
        found = target.coerce(label)
        assert (found, type(found)) == (is_class, type(is_class)), label
        assert target.coerce(found) == found, "what is on the log is read again as it is"
        assert target.of_log(found) == found


@pytest.mark.parametrize(("target", "labels", "why"), REFUSED)
def test_any_other_label_is_refused(target: Target, labels: list[Any], why: str) -> None:
    for label in labels:
        with pytest.raises(TargetError, match=why):
            target.coerce(label)


def test_a_target_that_was_asked_for_its_classes_is_the_same_target() -> None:
    asked, other = (Target(task="multiclass", classes=(1, 2)) for _ in range(2))
    asked.coerce("2")
    assert asked == other
    assert hash(asked) == hash(other)
    assert (asked.fingerprint(), msgspec.to_builtins(asked)) == (other.fingerprint(), msgspec.to_builtins(other))


# --- every way in ------------------------------------------------------------------------------------

SCHEMA = {
    "type": "record",
    "name": "Said",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "y", "type": ["null", "boolean", "long", "double", "string"]},
    ],
}


def from_csv(folder: Path, target: Target, label: Any) -> Any:
    path = folder / "d.csv"
    path.write_text(f"x,label\n1,{'' if label is None else label}\n")
    return _row(path, target)


def from_json_lines(folder: Path, target: Target, label: Any) -> Any:
    path = folder / "d.jsonl"
    path.write_text(json.dumps({"x": 1, "label": label}) + "\n")
    return _row(path, target)


def _row(path: Path, target: Target) -> Any:
    try:
        (row,) = open_source(str(path), SourceSpec(target=target)).rows()
    except BadRow as error:
        raise TargetError(str(error)) from error
    if row.label is None:
        raise TargetError("it has no label")  # as an import says; published, the event has none yet
    return target.coerce(row.label)


def from_kafka_json(folder: Path, target: Target, label: Any) -> Any:
    try:
        return target.coerce(read_label(json.dumps({"event_id": "e", "value": label}).encode()).value)
    except CodecError as error:
        raise TargetError(str(error)) from error


def from_kafka_avro(folder: Path, target: Target, label: Any) -> Any:
    if label is None:
        raise TargetError("the schema of a label has no null")
    return target.coerce(read_label(Label("e", label, 0).encode()).value)


class Sent(NamedTuple):
    value: bytes
    key: bytes | None = b"theirs"
    topic: str = "t"
    partition: int = 0
    offset: int = 0
    timestamp: int = 0
    headers: tuple[tuple[str, bytes], ...] = ()


def _mapped(target: Target, decode: Callable[[bytes], Any], data: bytes) -> Any:
    mapping = LabelMapping(Source(topic="t", id="id", value="y"), lambda value, headers: decode(value))
    found = mapping.label(Sent(data))
    if found is None:
        raise TargetError("it says nothing yet")
    return target.coerce(read_label(found.encode()).value)


def from_their_json(folder: Path, target: Target, label: Any) -> Any:
    return _mapped(target, json.loads, json.dumps({"id": "e", "y": label}).encode())


def from_their_avro(folder: Path, target: Target, label: Any) -> Any:
    sink = io.BytesIO()
    fastavro.schemaless_writer(sink, SCHEMA, {"id": "e", "y": label})
    return _mapped(target, lambda data: fastavro.schemaless_reader(io.BytesIO(data), SCHEMA, None), sink.getvalue())


def from_the_command(folder: Path, target: Target, label: Any) -> Any:
    return target.coerce(parse_label(str("" if label is None else label), target))


WAYS = [from_csv, from_json_lines, from_kafka_json, from_kafka_avro, from_their_json, from_their_avro, from_the_command]


@pytest.mark.parametrize("way", WAYS)
def test_by_every_way_in_a_label_is_its_class_or_refused(tmp_path: Path, way: Any) -> None:
    for target in (TWO, LEVELS):
        for label in (2, "2", 2.0, "2.0"):
            assert way(tmp_path, target, label) is True, label
        for label in ("zwei", None):
            with pytest.raises(TargetError):
                way(tmp_path, target, label)
    with pytest.raises(TargetError):
        way(tmp_path, LEVELS, 3)
    assert way(tmp_path, INCOME, " <=50K") is False
    with pytest.raises(TargetError):
        way(tmp_path, INCOME, ">50K.")
    assert way(tmp_path, TEXTS, "2") == way(tmp_path, TEXTS, 2) == "2"


# --- classes that nobody declared --------------------------------------------------------------------


def learned(labels: list[Any], target: Target = OPEN, goes_on: LearnerState | None = None) -> LearnerState:
    learning = goes_on or LearnerState(LearningRules(target, Contract(), naive_bayes.GaussianNB, None, 100))
    rng, first = random.Random(1), learning.learned
    for number, label in enumerate(labels, start=first):
        features = {"a": rng.gauss(0, 1), "b": rng.gauss(0, 1)}
        entry = Example(
            Event(f"e{number}", number, features),
            None,
            Label(f"e{number}", label, number),
            Lane("0", "x", number),
            None,
        )
        learning.apply(entry, number)
    return learning


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([1, "1", 1.0, "2", 2, "1.0"], [1, "2"]),
        (["1", 1, 2, "2"], ["1", 2]),
        (["a", " a", "a ", "b"], ["a", "b"]),
        ([" a", "a"], [" a"]),
        (["true", True, False, "False"], ["true", False]),
        ([0, 1, True, False], [0, 1]),
        (["1.1", "1.10", "01", "1"], ["1.1", "1.10", "01", "1"]),
    ],
)
def test_the_first_spelling_on_the_log_is_the_class(labels: list[Any], classes: list[Any]) -> None:
    learning = learned(labels)
    counted = list(learning.model.model.class_counts)
    assert [(each, type(each)) for each in counted] == [(each, type(each)) for each in classes]
    keys = (learning.model.predict({"a": 0.0, "b": 0.0}).wire_probabilities() or {}).keys()
    assert len(keys) == len(classes)


def test_a_restored_learner_knows_the_first_spelling() -> None:
    first = learned([1, 2])
    other = LearnerState(LearningRules(OPEN, Contract(), naive_bayes.GaussianNB, None, 100), first.model.model)
    other.restore(first.dump())
    assert list(learned(["1", "2"], goes_on=other).model.model.class_counts) == [1, 2]


def test_a_log_of_old_is_learned_as_it_was() -> None:
    """Labels that stood on the log before white space was cut off, and booleans among declared numbers."""
    assert [OPEN.of_log(label) for label in (" a", "1", 1, True, 2.0)] == [" a", "1", 1, True, 2]
    assert Target(task="multiclass", classes=(0, 1)).of_log(True) is True
    assert Target(task="multiclass", classes=(" a", "b")).of_log(" a") == " a"
    assert Target(task="multiclass", classes=(" a", "b")).coerce("a") == " a"


def test_weights_by_class_know_each_spelling() -> None:
    weights = ByClass({1: 20.0, "b": 3.0})
    assert [weights.of(label) for label in (1, "1", "b", " b", "c", 2)] == [20.0, 20.0, 3.0, 3.0, 1.0, 1.0]
    assert [ByClass({True: 5.0}).of(label) for label in (True, False)] == [5.0, 1.0]


def test_of_two_texts_each_finds_itself() -> None:
    found = Spellings(["1.1", "1.10", "2", "2.0"])
    assert [found.find(each) for each in ("1.1", "1.10", "2", "2.0", 2)] == ["1.1", "1.10", "2", "2.0", "2"]


# --- definitions -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "more", "why"),
    [
        ("binary", {"positive": "c", "classes": ("a", "b")}, "positive='c' is not in the class set"),
        ("binary", {"classes": ("good", "bad")}, "positive= must say which of classes="),
        ("binary", {"positive": False}, "leave it out"),
        ("binary", {"classes": "ab"}, "must be several"),
        ("multiclass", {"classes": ()}, "is empty"),
        ("multiclass", {"classes": (1, "1")}, "has 1 and '1', which are one class"),
        ("multiclass", {"classes": ("a", " a")}, "which are one class"),
        ("multiclass", {"classes": (0.5, 1)}, "a class is a string"),
        (
            "binary",
            {"positive": "a", "classes": ("a", "b"), "labels": Labels(on_timeout="c")},
            "on_timeout='c' is no label",
        ),
    ],
)
def test_a_definition_that_no_label_fits_is_refused(task: Any, more: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidStream, match=why):
        Stream(name="s", task=task, model=linear_model.LogisticRegression, **more)


def test_on_timeout_is_a_label_like_any_other() -> None:
    for given in ("<=50K", " <=50K", False):
        stream = Stream(
            name="s",
            task="binary",
            model=linear_model.LogisticRegression,
            positive=">50K",
            classes=(">50K", "<=50K"),
            labels=Labels(on_timeout=given),
        )
        assert stream.target.coerce(given) is False
