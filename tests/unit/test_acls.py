"""What roles may do where topics are somebody else's."""

from __future__ import annotations

from millstream.topics.acls import Right, principals, rights
from schemas.topics import Names

NAMES = Names("fraud", prefix="ann-", labels_from=("chargebacks",))


def topics(role: str, operation: str) -> set[str]:
    return {each.name for each in rights(NAMES, role) if each.resource == "topic" and each.operation == operation}


def test_an_intake_reads_the_topics_that_labels_come_from_and_writes_labels() -> None:
    assert topics("intake", "Read") == {"chargebacks", "ann-fraud.alerts"}
    assert topics("intake", "Write") == {"ann-fraud.labels", "ann-fraud.dead-letters", "ann-fraud.alerts"}
    assert Right("group", "ann-fraud.intake", "Read") in rights(NAMES, "intake")
    assert Right("transactional-id", "ann-fraud.intake-", "Write", prefixed=True) in rights(NAMES, "intake")


def test_nobody_else_reads_them_and_nobody_writes_them() -> None:
    assert [role for role in principals() if "chargebacks" in topics(role, "Read")] == ["intake"]
    assert [role for role in principals() if "chargebacks" in topics(role, "Write")] == []
    describing = [role for role in principals() if "chargebacks" in topics(role, "Describe")]
    assert describing == ["console", "intake", "operator"]


def test_without_such_topics_there_is_no_intake_to_have_rights() -> None:
    assert rights(Names("fraud"), "intake") == []


def test_no_role_writes_both_labels_and_model_updates() -> None:
    for role in principals():
        assert not {NAMES.topic("labels"), NAMES.topic("models")} <= topics(role, "Write"), role


def test_roles_see_where_each_other_stands_and_how_event_ids_are_spread() -> None:
    seen = {role: {each.name for each in rights(NAMES, role) if each.resource == "group"} for role in principals()}
    both = {"ann-fraud.joiner", "ann-fraud.predictor"}
    assert both <= seen["predictor"] & seen["joiner"] & seen["intake"]
    assert not both & (seen["learner"] | seen["publisher"])


def test_who_compares_models_reads_their_topics_where_a_stream_has_several() -> None:
    several = Names("fraud", models=("forest",))
    read = {each.name for each in rights(several, "operator") if (each.resource, each.operation) == ("topic", "Read")}
    assert {"fraud.shadows", "fraud.comparisons"} <= read
    assert not {each.name for each in rights(Names("fraud"), "operator")} & {"fraud.shadows", "fraud.comparisons"}
