"""`prepare` of a stream: it runs where events enter, and what it made travels on in place of what was sent."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from store_parts import store_on
from version_code_parts import forgetting_imports, learned, load, published

from consumers.predictor.feature_requests import Questions
from millstream import Stream
from millstream.evaluation.rows import FileRows, Refusals
from millstream.stream.errors import InvalidStream
from millstream.version_code.choice import VersionCode
from model_store import MemoryBackend, VersionRefused
from schemas.contract import Contract, ContractError, Feature
from schemas.events import Event, Features
from schemas.preparing import of_event

NOW = 1_700_000_000_000


def shade(sent: Features) -> Features:
    """Return the mean and the pixels of an image of raw bytes."""
    pixels = np.frombuffer(sent.pop("image"), dtype=np.uint8)  # type: ignore[arg-type]
    return {**sent, "mean": pixels.mean(), "pixels": pixels / 255}


class Sent(NamedTuple):
    value: bytes
    key: bytes | None = None
    topic: str = "unit.features"
    partition: int = 0
    offset: int = 5
    timestamp: int = NOW
    headers: tuple[tuple[str, bytes], ...] = ()


def test_what_it_makes_is_used_and_travels_on_in_place_of_what_was_sent() -> None:
    contract = Contract(features={"mean": Feature(), "pixels": Feature(type="vector"), "by": Feature(type="string")})
    event = Event("e", NOW, {"image": bytes([0, 51, 255]), "by": "me"})
    questions = Questions(contract, None, lambda: NOW, shade)
    for asked in (questions.ask(Sent(event.encode())), questions.check(event)):
        assert asked.failure is None
        assert asked.used == {"mean": 102.0, "pixels": [0.0, 0.2, 1.0], "by": "me"}
    assert event.features["image"], "the function is given a copy"
    body = questions.body(Sent(event.encode()), event, asked.used or {})
    assert body == Event("e", NOW, asked.used or {}).encode()[10:]


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda sent: {"x": 1 / 0}, "prepare raised ZeroDivisionError: division by zero"),
        (lambda sent: [1.0], "prepare returned a list"),
        (lambda sent: {1: 1.0}, "prepare returned a dict"),
        (lambda sent: {"x": [[1.0]]}, "prepare raised TypeError"),
        (lambda sent: {"x": object()}, "is no feature: object"),
        (lambda sent: {"x": np.array([1.0, np.inf])}, "feature 'x' holds a number that is not finite"),
    ],
)
def test_an_event_that_it_cannot_take_is_answered_with_an_error(prepare: Any, words: str) -> None:
    event = Event("e", NOW, {"x": 2.0})
    asked = Questions(Contract(), None, lambda: NOW, prepare).ask(Sent(event.encode()))
    assert asked.failure is not None
    assert words in asked.failure[1]
    assert asked.event == event


def test_an_exception_says_nothing_of_private_features() -> None:
    def fails(sent: Features) -> Features:
        raise ValueError(f"cannot take {sent}")

    with pytest.raises(ContractError, match=r"^prepare raised ValueError$"):
        of_event(Contract(features={"x": Feature(private=True)}), fails, {"x": 7.0}, NOW)


def test_a_predictor_and_a_file_of_rows_use_it(tmp_path: Path) -> None:
    stream = Stream(
        name="unit",
        task="binary",
        model=lambda: None,
        prepare=shade,
        features={"image": "bytes", "mean": "number", "pixels": "vector"},
    )
    file = tmp_path / "rows.jsonl"
    image = base64.b64encode(bytes([0, 255])).decode()
    file.write_text(json.dumps({"image": image, "label": True}) + "\n" + json.dumps({"label": True}) + "\n")
    refused = Refusals()
    rows = [row for (row,) in FileRows([stream], str(file)).read(refused)]
    assert [row.features for row in rows] == [{"mean": 127.5, "pixels": [0.0, 1.0]}]
    assert refused.count == 1


PREPARE = """
def prepare(sent):
    return {{"a": sent["a"] * {by}}}


"""


def test_it_is_a_part_of_the_definition_and_features_of_another_are_not_given(tmp_path: Path) -> None:
    store = store_on(MemoryBackend())
    with forgetting_imports():
        first = load(tmp_path / "a", before=PREPARE.format(by=2), more=", prepare=prepare")
        manifest = published(store, first, learned(first))
        VersionCode(first, store).to_answer(manifest)
        again = load(tmp_path / "b", before="# a comment" + PREPARE.format(by=2), more=", prepare=prepare")
        assert again.definition == first.definition
        assert "prepare" in first.definition_text
        for other in (", prepare=prepare", ""):
            changed = load(tmp_path / "c", before=PREPARE.format(by=3), more=other)
            with pytest.raises(VersionRefused, match="another prepare="):
                VersionCode(changed, store).to_answer(manifest)


def test_it_must_be_a_function() -> None:
    with pytest.raises(InvalidStream, match="prepare= must be a function"):
        Stream(name="unit", task="binary", model=lambda: None, prepare={"x": 1.0})  # type: ignore[arg-type]
