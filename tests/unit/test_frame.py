"""Data frames of records: every value exact, whatever comes beside it, in whatever chunk."""

from __future__ import annotations

import importlib
import math
import sys
from typing import Any, NamedTuple

import pandas as pd
import pytest

import millstream
from millstream.reading import frame as frames
from millstream.reading.frame import NoPandas, frame
from millstream.reading.typed_rows import READERS
from schemas import codec
from schemas.alerts import Alert
from schemas.codec import CodecError
from schemas.dead_letters import DeadLetter
from schemas.events import Event, Example, Failure, Features, Joined, Label, Lane, Outcome

FAR = 253_000_000_000_000  # ms; the year 9987
OUTCOME = Outcome(True, {"false": 0.25, "true": 0.75}, "clicks", 1, 20, 5, "clicks.features", 0, 7)


class Sent(NamedTuple):
    value: bytes | None
    partition: int = 0
    offset: int = 0
    timestamp: int = 1_700_000_000_000
    headers: tuple[tuple[str, bytes | None], ...] = ()


def example(number: int, features: Features, **given: Any) -> bytes:
    parts: dict[str, Any] = {
        "event": Event(f"e{number}", 1000 + number, features),
        "outcome": OUTCOME,
        "label": Label(f"e{number}", True, 2000, weight=2.0),
        "lane": Lane("0", "ab12", number),
        "joined": Joined(0, 1, 2, 3, 4),
    }
    return Example(**(parts | given)).encode()


def made(*each: Features, prefix: str = "") -> pd.DataFrame:
    records: Any = [Sent(example(number, features), offset=number) for number, features in enumerate(each)]
    return frame(records, "examples", prefix, refuse)


def refuse(record: object, error: CodecError) -> None:
    raise error


@pytest.fixture(params=[1, 2, 5000])
def _chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "_CHUNK", request.param)


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1.5, 2.5, -3.0], "float64"),
        ([1.5, None, -3.0], "float64"),
        ([None, None, -3.0], "float64"),
        ([1, 2, 2**63 - 1], "int64"),
        ([1, None, 2**63 - 1], "Int64"),
        ([None, 2**62 + 1], "Int64"),
        ([1, 2.5], "float64"),
        ([2.5, 1, None], "float64"),
        ([2**60 + 1, 2.5], "object"),
        ([True, False], "bool"),
        ([True, None], "boolean"),
        ([True, 2], "object"),
        ([None, None], "object"),
        (["a", "b", "a"], "str"),
        (["a", None, "b"], "str"),
        (["a", 1], "object"),
        ([b"\xff", None], "object"),
        ([[1.0, 2.0], [3.0]], "object"),
        ([[1.0, 2.0], [3.0, 4.0], None], "object"),
        ([[1.0, 2.0], [3.0, 4.0]], "object"),
    ],
)
def test_a_feature_is_exact_in_the_narrowest_type(values: list[Any], dtype: str) -> None:
    column = made(*({"x": each, "y": 0.0} for each in values))["x"]
    assert str(column.dtype) in (dtype, "object" if dtype == "str" else dtype)
    assert [
        None if each is pd.NA or (isinstance(each, float) and math.isnan(each)) else each for each in column
    ] == values


@pytest.mark.usefixtures("_chunks")
def test_features_that_come_later_or_are_left_out() -> None:
    found = made({"a": 1.0}, {"b": 2}, {"a": 3.0, "b": 4, "c": "x"})
    assert found["a"].tolist()[::2] == [1.0, 3.0]
    assert found["a"].isna().tolist() == [False, True, False]
    assert found["b"].isna().tolist() == [True, False, False]
    assert found["b"].tolist()[1:] == [2, 4]
    assert found["c"].tolist()[2] == "x"


def test_the_columns_of_an_example() -> None:
    imported = example(1, {"x": 0.5}, outcome=None, joined=None, label=Label("e1", "spam", FAR, source="import"))
    records: Any = [Sent(example(0, {"x": 0.25})), Sent(imported, offset=9)]
    found = frame(records, "examples", "features.", refuse)
    assert found["offset"].tolist() == [0, 9]
    assert found["event_id"].tolist() == ["e0", "e1"]
    assert found["label"].tolist() == [True, "spam"]
    assert found["label_source"].tolist() == ["system", "import"]
    assert found["prediction"].tolist()[0] is True
    assert found["prediction"].isna().tolist() == [False, True]
    assert found["version"].astype(object).where(found["version"].notna(), None).tolist() == ["1/20", None]
    assert found["probabilities.true"].tolist()[0] == 0.75
    assert found["features.x"].tolist() == [0.25, 0.5]
    assert found["sequence"].tolist() == [0, 1]
    assert found["event_time"].tolist()[1] == pd.Timestamp("1970-01-01 00:00:01.001", tz="UTC")
    assert found["label_time"].dt.year.tolist() == [1970, 9987]
    assert found["predicted_at"].isna().tolist() == [False, True]


def test_predictions_and_dead_letters_have_their_reasons() -> None:
    import msgspec

    outcome = msgspec.structs.replace(
        OUTCOME,
        prediction=None,
        probabilities=None,
        epoch=-1,
        examples=-1,
        error=Failure("type", "x is text"),
        status="error",
    )
    event = Event("e1", 1, {"x": "1"})
    value = codec.PREDICTION.encode(msgspec.to_builtins({"event": event, "outcome": outcome}, builtin_types=(bytes,)))
    record: Any = Sent(value, partition=2)
    [row] = frame([record], "predictions", "features.", refuse).to_dict("records")
    assert (row["status"], row["error.code"], row["error.message"]) == ("error", "type", "x is text")
    assert pd.isna(row["version"])
    typed = READERS["predictions"](record)
    assert (typed.version, typed.error_code, typed.partition) == (None, "type", 2)
    letter = DeadLetter("t", 3, 4, 5, b"k", b"\xff", [("h", None)], "predictor", "codec", "not JSON", 6)
    record = Sent(letter.encode())
    [row] = frame([record], "dead-letters", "features.", refuse).to_dict("records")
    assert (row["stage"], row["from.topic"], row["from.offset"], row["value"]) == ("predictor", "t", 4, b"\xff")
    assert READERS["dead-letters"](record).headers == [("h", None)]


def test_alerts_have_a_column_for_each_detail() -> None:
    raised = Alert("learner.memory", "critical", "raised", "the model is full", 5, {"bytes": "7"})
    cleared = Alert("learner.memory", "info", "cleared", "it has cleared", 7, {})
    records: Any = [Sent(each.encode(), offset=number) for number, each in enumerate((raised, cleared))]
    found = frame(records, "alerts", "features.", refuse)
    assert found["state"].tolist() == ["raised", "cleared"]
    assert [stamp.value // 10**6 for stamp in found["at"]] == [5, 7]
    assert found["details.bytes"].tolist()[0] == "7"
    assert pd.isna(found["details.bytes"].tolist()[1])
    typed = [READERS["alerts"](record) for record in records]
    assert [(row.name, row.severity, row.details) for row in typed] == [
        ("learner.memory", "critical", {"bytes": "7"}),
        ("learner.memory", "info", {}),
    ]
    assert [row.offset for row in typed] == found["offset"].tolist()


def test_typed_rows_say_what_the_frame_says() -> None:
    record: Any = Sent(example(3, {"x": 0.25, "n": None}), offset=7)
    row = READERS["examples"](record)
    whole = frame([record], "examples", "", refuse).to_dict("records")[0]
    for name in ("offset", "event_id", "label", "weight", "kind", "prediction", "version", "lane", "sequence"):
        assert getattr(row, name) == whole[name], name
    assert row.features == {"x": 0.25, "n": None}
    assert row.label_time == whole["label_time"].timestamp() * 1000


def test_an_unreadable_record_is_left_out_and_told() -> None:
    told: list[int] = []
    records: Any = [Sent(b"junk", offset=3), Sent(example(0, {"x": 1.0}), offset=4), Sent(None, offset=5)]
    found = frame(records, "examples", "", lambda record, error: told.append(record.offset))
    assert (found["offset"].tolist(), told) == ([4], [3, 5])


def test_no_records_are_an_empty_frame_with_the_columns() -> None:
    found = made()
    assert len(found) == 0
    assert {"event_id", "label", "version", "event_time"} <= set(found.columns)


def test_a_feature_with_the_name_of_a_column_is_refused() -> None:
    with pytest.raises(ValueError, match=r"feature 'label' has the name of another column.*prefix='x\.'"):
        made({"label": 1.0})
    assert made({"label": 1.0}, prefix="x.")["x.label"].tolist() == [1.0]


def test_without_pandas_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(NoPandas, match=r"pip install 'millstream\[pandas\]'"):
        made({"x": 1.0})


def test_every_public_name_is_shown_and_found() -> None:
    assert set(millstream.__all__) <= set(dir(millstream))
    assert millstream.__all__ == sorted(millstream.__all__)
    for name in millstream.__all__:
        assert getattr(millstream, name).__doc__, name
    assert not {"Any", "import_module", "_HOMES"} & set(dir(millstream))
    with pytest.raises(AttributeError, match="no attribute 'exampels'"):
        importlib.import_module("millstream").exampels  # noqa: B018


@pytest.mark.parametrize("given", [{"last": -1}, {"last": 1.5}, {"limit": True}, {"last": 1, "limit": 1}])
def test_what_is_no_number_of_rows_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="last=" if "last" in given else "limit="):
        millstream.examples("clicks", **given)


def test_settings_come_from_arguments_the_environment_and_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    from millstream.cli.python_api import _settings

    for name in ("HOME", "BOOTSTRAP", "PREFIX", "STORE", "CONFIG"):
        monkeypatch.delenv(f"MILLSTREAM_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "millstream.toml").write_text('bootstrap = "file:1"\nprefix = "file-"\nhome = "here"\n')
    monkeypatch.setenv("MILLSTREAM_PREFIX", "env-")
    found = _settings(None, None, None)
    assert (found.bootstrap, found.prefix, found.home) == ("file:1", "env-", tmp_path / "here")
    found = _settings(tmp_path, "given:1", "given-")
    assert (found.bootstrap, found.prefix, found.home) == ("given:1", "given-", tmp_path)
