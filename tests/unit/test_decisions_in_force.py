"""Which decision is in force: a person's last, or a promotion that follows it."""

from __future__ import annotations

import itertools
import random

import pytest

from consumers.model.models_topic_state import Known, UnusableRecord
from consumers.predictor.model_feed import PauseSwitch
from millstream.reading.decision_history import decisions_in, in_force_at, row
from millstream.versions.rollback import changing, model_before, tells_model_before
from model_store import VersionId
from runtime.kafka_client.records import PlainRecord, Record
from schemas.model_updates import Adopted, Decision, Learning, ModelUpdate, Promoted, RolledBack, Serving, decision_hash

OWN = "fraud"


def person(model: str, epoch: int | None = None, examples: int | None = None, at: int = 1) -> ModelUpdate:
    return ModelUpdate(at, Serving(model, 0, epoch, examples, "ann", "better"))


def rule(model: str, follows: ModelUpdate | None, before: str = OWN, at: int = 1) -> ModelUpdate:
    hashed = "" if follows is None else decision_hash(follows.encode())
    return ModelUpdate(at, Promoted(model, 0, hashed, "rule", "lower loss", before, {"bound": 0.01}))


def known(*updates: ModelUpdate) -> Known:
    found = Known()
    for update in updates:
        assert found.take(update.state.key.encode(), update.encode())
    return found


def test_a_promotion_holds_while_the_decision_that_it_follows_is_the_last_of_a_person() -> None:
    first, second = person(OWN, at=1), person(OWN, at=2)
    assert known().serves(OWN, 0) == OWN
    assert known(rule("fraud.tree", None)).serves(OWN, 0) == "fraud.tree"
    assert known(first, rule("fraud.tree", first)).serves(OWN, 0) == "fraud.tree"
    assert known(first, rule("fraud.tree", first), second).serves(OWN, 0) == OWN, "a later decision of a person wins"
    assert known(first, second, rule("fraud.tree", first)).serves(OWN, 0) == OWN, "it came too late"
    assert known(first, rule("fraud.tree", None)).serves(OWN, 0) == OWN


def test_compaction_that_keeps_the_last_of_each_key_changes_nothing() -> None:
    first, second = person(OWN, at=1), person("fraud.few", 1, 20, at=2)
    history = [
        rule("fraud.tree", None),
        first,
        rule("fraud.tree", first),
        second,
        rule("fraud.tree", second, "fraud.few"),
    ]
    for length in range(1, len(history) + 1):
        whole = history[:length]
        compacted = {update.state.key: update for update in whole}.values()
        for order in itertools.permutations(compacted):
            assert known(*order).serves(OWN, 0) == known(*whole).serves(OWN, 0)
            assert known(*order).decided(0) == known(*whole).decided(0)


def test_a_version_that_a_person_named_serves_until_a_promotion_that_follows() -> None:
    named = person("fraud.tree", 1, 20)
    assert known(named).decided(0) == VersionId("fraud.tree", 1, 20)
    after = known(named, rule(OWN, named, "fraud.tree"))
    assert (after.decided(0), after.serves(OWN, 0)) == (None, OWN)


def test_decisions_about_one_model_leave_those_about_another() -> None:
    def learning(model: str, *, paused: bool) -> ModelUpdate:
        return ModelUpdate(1, Learning(0, paused, "ann", "why", model))

    def adopted(model: str, epoch: int) -> ModelUpdate:
        return ModelUpdate(1, Adopted(model, 0, epoch, 10, "ann", "why"))

    updates = [
        learning("", paused=True),
        learning("fraud.tree", paused=False),
        adopted(OWN, 2),
        adopted("fraud.tree", 3),
    ]
    assert len({update.state.key for update in updates}) == 4, "compaction would let one erase the other"
    found = known(*updates)
    own, tree = PauseSwitch(OWN, say=lambda _: None), PauseSwitch("fraud.tree", say=lambda _: None)
    own.follow(found)
    tree.follow(found)
    assert (own.is_paused(), tree.is_paused()) == (True, False)
    assert (own.adopted(), tree.adopted()) == (VersionId(OWN, 2, 10), VersionId("fraud.tree", 3, 10))


def test_a_record_under_the_key_of_another_is_refused() -> None:
    update = ModelUpdate(1, Learning(0, True, "ann", "why", "fraud.tree"))
    with pytest.raises(UnusableRecord, match=r"its key is not learning/fraud\.tree/0"):
        Known().take(b"learning/0", update.encode())


def history_of(*updates: ModelUpdate) -> list[Record]:
    def record(number: int, state: Decision, value: bytes) -> Record:
        return PlainRecord("fraud.decisions", 0, number, 1000 * (number + 1), state.key.encode(), value, ())

    return [record(number, update.state, update.encode()) for number, update in enumerate(updates)]


def test_the_history_says_who_decided_what_served_and_what_came_too_late() -> None:
    first, second = person("fraud.tree", at=1), person(OWN, at=3)
    found = decisions_in(
        history_of(first, rule("fraud.few", first, "fraud.tree", 2), second, rule("fraud.few", first, at=4))
    )
    assert [each.serves for each in found] == ["fraud.tree", "fraud.few", OWN, None]
    assert [row(each)["decision"] for each in found[:2]] == ["serve tree", "serve few instead of tree"]
    assert [row(each)["in_force"] for each in found] == [True, True, True, False]
    assert row(found[1])["evidence"] == {"bound": 0.01}
    assert in_force_at(found, 999) is None
    held = in_force_at(found, 2500)
    assert held is not None
    assert held.offset == 1
    late = in_force_at(found, 9999)
    assert late is not None
    assert late.offset == 2


@pytest.mark.parametrize(
    ("served", "back"),
    [
        ([], None),
        ([OWN], None),
        (["fraud.tree"], OWN),
        (["fraud.tree", "fraud.few"], "fraud.tree"),
        (["fraud.tree", OWN], "fraud.tree"),
        (["fraud.tree", "fraud.tree"], OWN),
        ([OWN, "fraud.tree", "fraud.tree", "fraud.tree"], OWN),
    ],
)
def test_a_rollback_after_a_change_of_the_model_goes_to_the_model_before(served: list[str], back: str | None) -> None:
    updates = [person(model, at=number) for number, model in enumerate(served)]
    assert model_before(changing(decisions_in(history_of(*updates)), OWN), OWN) == back


def test_a_decision_that_changes_nothing_has_nothing_to_roll_back() -> None:
    main, tree = person(OWN), person("fraud.tree")
    pin, paused = person("fraud.tree", 1, 20), ModelUpdate(1, Learning(0, True, "ann", "why", ""))
    promoted = rule("fraud.tree", main)
    told = decisions_in(history_of(main, promoted, tree, tree, paused, pin, pin, tree))
    kept = [each.update for each in changing(told, OWN)]
    assert kept == [promoted, paused, pin, tree]


def test_a_rollback_by_an_alert_rule_is_a_decision() -> None:
    """Otherwise a stream that nobody else has decided about would have no history."""
    known, update = Known(), ModelUpdate(1, RolledBack(OWN, 0, 1, 200, "", "monitor.f1", "f1 fell", {}))
    assert not known.has_decisions()
    assert known.take(update.state.key.encode(), update.encode())
    assert known.has_decisions()
    assert known.decided(0) == VersionId(OWN, 1, 200)


def drawn(draws: random.Random, length: int) -> list[ModelUpdate]:
    """Return decisions of people and of the rule, some of which came too late or change nothing."""
    found: list[ModelUpdate] = []
    for at in range(length):
        people = [None, *(each for each in found if isinstance(each.state, Serving))][-2:]
        model = draws.choice([OWN, "fraud.tree", "fraud.few"])
        pinned = draws.choice([(None, None), (1, 20), (1, 30)])
        found.append(draws.choice([person(model, *pinned, at=at), rule(model, draws.choice(people), at=at)]))
    return found


@pytest.mark.parametrize("seed", range(20))
def test_the_newest_decisions_tell_the_same_as_all_or_that_they_do_not_tell(seed: int) -> None:
    draws = random.Random(seed)
    updates = drawn(draws, 12)
    records = history_of(*updates)
    whole = decisions_in(records)
    back = model_before(changing(whole, OWN), OWN)
    for begin in range(1, len(records)):
        newest = decisions_in(records[begin:], whole=False)
        assert newest == whole[len(whole) - len(newest) :], "what holds is known without older decisions"
        if tells_model_before(newest):
            assert model_before(changing(newest, OWN), OWN) == back


def test_two_decisions_tell_what_served_before_unless_only_the_version_changed() -> None:
    main, tree = person(OWN, at=1), person("fraud.tree", at=2)
    late, pin = rule("fraud.few", main, at=3), person("fraud.tree", 1, 20, at=4)
    assert tells_model_before(decisions_in(history_of(main, tree, late, tree), whole=False))
    assert not tells_model_before(decisions_in(history_of(tree, late), whole=False))
    assert not tells_model_before(decisions_in(history_of(main, tree, pin), whole=False))
