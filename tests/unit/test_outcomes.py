"""The short way to an outcome's bytes is the codec's own."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.model.river_model import Answer
from consumers.predictor.fast_outcomes import OutcomeWriter
from runtime.kafka_client.records import Partition
from schemas import codec

longs = st.integers(-(2**63), 2**63 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
floats = st.floats(allow_nan=False)
scalars = st.one_of(st.booleans(), longs, floats, texts)


def written(answer: Answer, offset: int = 7, failure: tuple[str, str] | None = None) -> dict[str, Any]:
    """Return what a reader decodes, after holding the bytes to the codec's."""
    writer = OutcomeWriter(("fraud", 3, 70_000), 1_700_000_000_123, Partition("fraud.features", 2))
    data = writer.write(answer, offset, failure)
    fields = codec.OUTCOME.decode_body(data)
    assert codec.OUTCOME.encode_body(fields) == data
    return fields


@given(scalars, st.one_of(st.none(), st.dictionaries(texts, floats, max_size=70)), st.integers(0, 2**63 - 1))
def test_whatever_is_answered_is_what_is_read(value: Any, shares: dict[Any, float] | None, offset: int) -> None:
    fields = written(Answer(value, shares), offset)
    assert (fields["prediction"], type(fields["prediction"])) == (value, type(value))
    assert (fields["probabilities"], fields["source_offset"]) == (shares, offset)


shares_of_two = st.one_of(
    st.tuples(floats, floats).flatmap(
        lambda pair: st.sampled_from(
            [dict(zip(keys, pair, strict=True)) for keys in ((False, True), (True, False), (0, 1), (1, 0), ("a", "b"))]
        )
    ),
    st.dictionaries(st.one_of(st.booleans(), longs, texts), floats, max_size=3),
)


@given(
    st.lists(
        st.tuples(
            st.one_of(st.sampled_from([False, True, 0, 1, "a", "b", None]), scalars),
            st.one_of(st.none(), shares_of_two),
            st.one_of(st.integers(0, 200), st.integers(0, 2**63 - 1)),
            st.sampled_from([None, None, None, ("model", "it raised")]),
        ),
        max_size=30,
    ),
    st.binary(max_size=20),
)
def test_a_whole_prediction_is_header_event_and_outcome(
    answers: list[tuple[Any, Any, int, tuple[str, str] | None]], body: bytes
) -> None:
    """One writer has all answers of a batch; what it remembers of one must not show in the next."""
    version, place = ("fraud", 3, 70_000), Partition("fraud.features", 2)
    writer = OutcomeWriter(version, 5, place)
    for value, shares, offset, failure in answers:
        outcome = codec.OUTCOME.encode_body(
            OutcomeWriter(version, 5, place)._fields(Answer(value, shares), offset, failure)
        )
        expected = codec.PREDICTION.header + body + b"\x02" + outcome
        assert writer.prediction(body, Answer(value, shares), offset, failure) == expected


def test_what_a_batch_has_in_common_is_in_each() -> None:
    fields = written(Answer(True, {False: 0.25, True: 0.75}))
    assert fields == {
        "prediction": True,
        "probabilities": {"false": 0.25, "true": 0.75},
        "model": "fraud",
        "epoch": 3,
        "examples": 70_000,
        "predicted_at": 1_700_000_000_123,
        "source_topic": "fraud.features",
        "source_partition": 2,
        "source_offset": 7,
        "error": None,
        "role": "serving",
        "status": "ok",
    }


def test_classes_that_are_equal_and_not_the_same_keep_their_names() -> None:
    assert written(Answer(1, {1: 1.0}))["probabilities"] == {"1": 1.0}
    assert written(Answer(True, {True: 1.0}))["probabilities"] == {"true": 1.0}


def test_no_prediction_yet_is_null() -> None:
    assert written(Answer(None, None))["prediction"] is None


@pytest.mark.parametrize(
    ("value", "plain"), [(numpy.float64(0.5), 0.5), (numpy.int64(3), 3), (numpy.bool_(True), True)]
)
def test_numbers_of_numpy_are_taken(value: Any, plain: Any) -> None:
    assert written(Answer(value, None))["prediction"] == plain


def test_a_failure_leaves_the_answer_out() -> None:
    fields = written(Answer(True, {True: 1.0}), failure=("model", "it raised"))
    assert (fields["prediction"], fields["probabilities"], fields["epoch"], fields["examples"]) == (None, None, -1, -1)
    assert (fields["status"], fields["error"]) == ("error", {"code": "model", "message": "it raised"})
