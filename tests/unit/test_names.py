"""Names of a stream where topics are somebody else's, and where predictions have a form for others."""

from __future__ import annotations

from typing import Any

import pytest
from river import linear_model

from millstream import Predictions, Source, Stream
from millstream.stream.errors import InvalidStream
from millstream.topics.acls import principals, rights
from millstream.topics.admin import Topic, judge
from schemas.topics import KINDS, InvalidName, Names, TopicSpec, specs

FOREIGN = Names("fraud", "ann-", {"features": "payments"}, public=True)


def own_specs(names: Names) -> dict[str, TopicSpec]:
    return {spec.name: spec for spec in specs(names, partitions=3, label_wait_ms=1000)}


def allowed(role: str, operation: str) -> set[str]:
    return {each.name for each in rights(FOREIGN, role) if each.resource == "topic" and each.operation == operation}


def stream(**more: Any) -> Stream:
    return Stream(name="fraud", task="binary", model=linear_model.LogisticRegression, **more)


def test_somebody_elses_topic_is_none_to_be_made_and_answers_are_only_there_where_others_read_another_form() -> None:
    ours = own_specs(FOREIGN)
    assert "payments" not in ours
    assert "ann-fraud.features" not in ours
    assert "ann-fraud.answers" in ours
    assert set(own_specs(Names("fraud"))) == {f"fraud.{kind}" for kind in KINDS}


def test_what_is_joined_is_kept_for_the_waits_and_what_others_read_is_their_affair() -> None:
    ours = own_specs(FOREIGN)
    assert ours["ann-fraud.answers"].least_retention_ms == ours["ann-fraud.labels"].least_retention_ms == 3000
    assert ours["ann-fraud.predictions"].least_retention_ms is None
    assert own_specs(Names("fraud"))["fraud.predictions"].least_retention_ms == 3000


@pytest.mark.parametrize(("kind", "wrong"), [("answers", True), ("predictions", False)])
def test_labels_must_have_as_many_partitions_as_what_they_are_joined_with(kind: str, wrong: bool) -> None:
    wanted = list(own_specs(FOREIGN).values())
    found = {spec.name: Topic(spec.name, "id", spec.partitions, spec.config) for spec in wanted}
    name = FOREIGN.topic(kind)
    found[name] = Topic(name, "id", 5, found[name].config)
    said = [finding.message for finding in judge(wanted, found)]
    told = [
        "ann-fraud.answers has 5 partitions and ann-fraud.labels has 3; "
        "one joiner works with that, several need equally many"
    ]
    assert said == (told if wrong else [])


def test_the_predictor_reads_somebody_elses_topic_and_nobody_writes_it() -> None:
    assert "payments" in allowed("predictor", "Read")
    readers = {role for role in principals() if "payments" in allowed(role, "Read")}
    assert readers == {"predictor", "operator", "console"}
    assert not any("payments" in allowed(role, "Write") for role in principals())
    assert "ann-fraud.features" not in {each.name for role in principals() for each in rights(FOREIGN, role)}


def test_both_forms_of_predictions_are_the_predictors_to_write_and_whole_ones_the_joiners_to_read() -> None:
    assert {"ann-fraud.predictions", "ann-fraud.answers"} <= allowed("predictor", "Write")
    assert {"ann-fraud.predictions", "ann-fraud.answers"} & allowed("joiner", "Read") == {"ann-fraud.answers"}


@pytest.mark.parametrize("kind", [*KINDS, "answers"])
def test_a_stream_does_not_read_its_own_topics_as_somebody_elses(kind: str) -> None:
    for given in ({"elsewhere": {"features": f"ann-fraud.{kind}"}}, {"labels_from": (f"ann-fraud.{kind}",)}):
        with pytest.raises(InvalidName, match="that is a topic of its own"):
            Names("fraud", "ann-", **given)  # type: ignore[arg-type]


def test_a_stream_says_whose_topic_it_reads_and_in_which_form_it_answers() -> None:
    assert stream(features=Source(topic="payments")).elsewhere == {"features": "payments"}
    assert not stream().predictions.public
    assert stream(predictions=Predictions(format="json")).predictions.public
    assert stream(predictions=Predictions(features=False)).predictions.public
    assert not stream(predictions=Predictions(cloudevents="/fraud")).predictions.public


@pytest.mark.parametrize(
    ("given", "says"),
    [({"format": "xml"}, "must be one of avro, json, registry"), ({"cloudevents": " "}, "who")],
)
def test_forms_that_there_are_not_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidStream, match=says):
        Predictions(**given)


def test_a_topic_that_events_and_labels_come_from_is_of_the_kind_of_the_events() -> None:
    both = Names("fraud", elsewhere={"features": "shop.payments"}, labels_from=("shop.payments", "eu.chargebacks"))
    assert [both.kind(topic) for topic in ("shop.payments", "eu.chargebacks", "fraud.labels")] == [
        "features",
        "eu.chargebacks",
        "labels",
    ]
