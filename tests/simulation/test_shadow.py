"""Shadow answers: one record a prediction, with what each challenger knew then, whatever dies in between."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from deadly_model import DEADLY, ONCE, deadly_process
from simulation.log import Crash, SimulatedLoop
from simulation.seeds import seeds
from simulation.shadowing import GROUP, MODELS, NAMES, PARTITIONS, TICK, Site

from consumers.loop.last_offsets_file import TopicMemory
from consumers.loop.log_faults import LogRefused, short_ids
from consumers.model import version_loader
from consumers.shadow.offset_metadata import ShadowMetadata
from model_store import StoreUnavailable, VersionId
from model_store.object_keys import version_place
from runtime.exits import Doubt
from runtime.kafka_client.records import Output, Partition
from schemas.alerts import read_alert
from schemas.comparisons import MODEL_FAILED
from schemas.contract import Contract, Feature
from schemas.topics import partition_of


def test_each_model_but_the_one_that_answered_is_asked() -> None:
    site = Site()
    for number, model in enumerate(MODELS):
        site.announce(model, number + 10)
    site.log.now += 100
    site.predict("a")
    site.predict("b", served_by="sim.forest")
    site.predict("c", served_by="sim.removed")
    site.drain()
    said = {event: {model: each.prediction for model, each in by.items()} for event, by in site.answers().items()}
    assert said == {
        "a": {"sim.forest": 11.0, "sim.line": 12.0},
        "b": {"sim": 10.0, "sim.line": 12.0},
        "c": {"sim": 10.0, "sim.forest": 11.0, "sim.line": 12.0},
    }
    shadow = next(each for each in site.shadows() if each.event.event_id == "a")
    assert (shadow.outcome.model, shadow.outcome.prediction, shadow.event.features) == ("sim", 1.5, {})
    assert (shadow.time, shadow.partition) == (site.log.now, partition_of("a", PARTITIONS))
    assert {each.age_ms for each in shadow.challengers} == {100}


def test_a_version_announced_at_or_after_the_prediction_never_answers() -> None:
    site = Site()
    for examples in (0, 1, 2, 3):
        site.announce("sim.forest", examples)
        site.predict(f"at-{examples}")  # at the same millisecond
        site.log.now += 1
        site.predict(f"after-{examples}")
        site.log.now += 10
    site.drain(take=100)
    said = {event: by["sim.forest"] for event, by in site.answers().items()}
    assert said["at-0"].error == "no-version"
    assert (said["at-0"].epoch, said["at-0"].age_ms) == (-1, -1)
    for examples in (0, 1, 2, 3):
        assert (said[f"after-{examples}"].prediction, said[f"after-{examples}"].age_ms) == (examples, 1)
    for examples in (1, 2, 3):
        assert said[f"at-{examples}"].prediction == examples - 1


@pytest.mark.parametrize("seed", seeds(10, 60))
def test_crashes_and_a_lag_change_no_answer_and_no_record_is_lost_or_repeated(seed: int) -> None:
    """A process that dies at any moment, and reads at any pace, writes what one without faults wrote."""
    rng = random.Random(seed)
    site = Site(share=rng.choice([1.0, 0.5]))
    site.announce("sim.forest", 0)
    expected: dict[str, dict[str, int]] = {}
    known = {"sim.forest": 0}
    for number in range(150):
        site.log.now += rng.randrange(1, 30)
        if rng.random() < 0.2:
            model = rng.choice(MODELS)
            known[model] = number + 1
            site.announce(model, number + 1)
        elif rng.random() < 0.1 and site.log.read(NAMES.topic("shadows")):
            site.drain(lambda place: rng.random() < 0.1, take=rng.randrange(1, 9))
        else:
            served = rng.choice(MODELS)
            site.predict(f"e{number}", served)
            site.log.now += 1
            expected[f"e{number}"] = {model: n for model, n in known.items() if model != served}
        if number == 20:
            site.drain()
    site.drain(lambda place: rng.random() < 0.1)
    got = site.answers()
    assert {*got} <= {*expected}
    assert site.settings["share"] < 1.0 or {*got} == {*expected}
    for event, by in got.items():
        said = {model: each.examples for model, each in by.items() if each.error is None}
        assert said == expected[event], event
    assert all(each.challengers for each in site.shadows())


def test_a_process_that_starts_far_behind_finds_what_compaction_left_of_the_models_topic() -> None:
    site = Site()
    for model in MODELS:
        site.announce(model, 1)
    site.log.now += 1000
    for _ in range(3000):  # of another model: further back than a page
        site.say_announced(VersionId("sim", 1, 1))
    site.predict("early")
    site.drain()
    site.log.now += 1
    site.predict("behind")
    site.log.now += 1
    for examples in range(2, 50):
        site.announce("sim.forest", examples)
    site.drain()
    assert site.answers()["behind"]["sim.forest"].examples == 1
    assert site.answers()["behind"]["sim.line"].examples == 1


def test_a_model_that_left_the_file_is_counted_no_longer_and_a_new_one_is_there_at_once() -> None:
    site = Site()
    site.announce("sim.forest", 1)
    site.log.now += 1
    site.predict("a")
    site.drain()
    assert told(site, "a").models == {"sim.forest": (1, 0), "sim.line": (0, 1)}
    site.settings["models"] = ("sim", "sim.line", "sim.new")
    site.drain()
    assert told(site, "a").models == {"sim.line": (0, 1), "sim.new": (0, 0)}


def test_a_pruned_version_is_replaced_by_the_newest_older_one_and_its_age_is_told() -> None:
    site = Site()
    old = site.announce("sim.forest", 1)
    site.log.now += 50
    newer = site.announce("sim.forest", 2)
    site.log.now += 50
    site.predict("a")
    site.backend.delete(version_place(newer))
    site.drain()
    answer = site.answers()["a"]["sim.forest"]
    assert (answer.examples, answer.age_ms, answer.error) == (old.examples, 100, None)
    assert any("gives no shadow answers" in line for line in site.said)
    assert site.answers()["a"]["sim.line"].error == "no-version"


def test_a_store_that_does_not_answer_stops_the_role_rather_than_another_version_answering() -> None:
    site = Site()
    site.announce("sim.forest", 1)
    site.log.now += 1
    site.predict("a")
    role = site.role()
    loop = SimulatedLoop(site.log, GROUP, role)

    def away(*given: Any) -> bytes:
        raise StoreUnavailable("the disk is gone")

    site.backend.get = away  # type: ignore[method-assign]
    with pytest.raises(Doubt, match="forest:1/1 cannot be loaded now: the disk is gone"):
        loop.step({NAMES.whole: 3})
    assert site.shadows() == []


def test_an_event_that_its_model_failed_on_is_shadowed_with_the_features_that_models_are_given() -> None:
    site = Site(contract=Contract(features={"x": Feature()}))
    site.announce("sim.forest", 1)
    site.log.now += 10
    site.predict("refused", error=True)
    site.predict("failed", error="model")
    site.drain()
    [shadow] = site.shadows()
    assert (shadow.event.event_id, shadow.outcome.status) == ("failed", "error")
    assert [(each.model, each.prediction) for each in shadow.challengers if each.error is None] == [("sim.forest", 1.0)]


def test_errors_have_no_shadow_and_only_the_share_has_one() -> None:
    site = Site(share=0.25)
    site.announce("sim.forest", 1)
    for number in range(400):
        site.log.now += 1
        site.predict(f"e{number}", error=number % 2 == 0)
    site.drain(take=50)
    got = site.answers()
    assert all(int(event[1:]) % 2 for event in got)
    assert 30 <= len(got) <= 70
    again = Site(share=0.25)
    again.announce("sim.forest", 1)
    for number in range(400):
        again.log.now += 3
        again.predict(f"e{number}", error=number % 2 == 0)
    again.drain(take=7)
    assert {*again.answers()} == {*got}


def test_time_goes_on_for_the_judge_where_nothing_is_shadowed() -> None:
    site = Site(share=0.0)
    site.announce("sim.forest", 1)
    for number in range(100):
        site.log.now += 100
        site.predict(f"e{number}")
    site.drain(take=1)
    held = site.log.read(NAMES.topic("shadows"))
    assert held
    assert all((record.value or b"").startswith(TICK) for record in held)
    assert len(held) <= 2 * 10 + 2


class Panic(BaseException):
    """What River's compiled parts raise."""


@pytest.mark.parametrize("bad", ["raises", "panics", "no number", "not finite"])
def test_a_poisoned_challenger_harms_no_other(bad: str, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site()
    site.announce("sim.forest", 5)
    site.announce("sim.line", 7)
    face = version_loader.VersionLoader.load

    def poisoned(loader: Any, manifest: Any, *more: Any) -> Any:
        loaded = face(loader, manifest, *more)
        if manifest.version.model == "sim.forest":

            def answer(features: Any) -> Any:
                if bad == "raises":
                    raise ZeroDivisionError
                if bad == "panics":
                    raise Panic
                return "seven" if bad == "no number" else float("nan")

            loaded.face.model.predict_one = answer
        return loaded

    monkeypatch.setattr(version_loader.VersionLoader, "load", poisoned)
    site.log.now += 1
    site.predict("a")
    role = site.drain()
    answers = site.answers()["a"]
    assert (answers["sim.forest"].error, answers["sim.forest"].prediction) == ("model", None)
    assert (answers["sim.line"].error, answers["sim.line"].prediction) == (None, 7.0)
    note = told(site, "a")
    assert note.models == {"sim.forest": (0, 1), "sim.line": (1, 0)}
    assert [*note.models] == [model for model in MODELS if model != "sim"]
    role.close()


@pytest.mark.parametrize(
    ("events", "failed"),
    [
        ({"a": 1.0, "b": ONCE, "c": 2.0}, set()),
        ({"a": 1.0, "b": DEADLY, "c": 2.0}, {"b"}),
        ({str(number): DEADLY for number in range(6)}, set("012345")),
    ],
    ids=["killed", "a deadly event", "only deadly events"],
)
def test_a_process_that_dies_is_started_and_asked_again_and_is_no_failure_of_the_model(
    events: dict[str, float], failed: set[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    site, started, said = Site(), [], list[str]()
    site.announce("sim.forest", 5)
    site.announce("sim.line", 7)
    load = version_loader.VersionLoader.load

    def apart(loader: Any, manifest: Any, *more: Any) -> Any:
        if manifest.version.model != "sim.forest":
            return load(loader, manifest, *more)
        started.append(deadly_process(tmp_path / "killed", said.append))
        return version_loader.LoadedModel(started[-1], apart=True)

    monkeypatch.setattr(version_loader.VersionLoader, "load", apart)
    site.log.now += 1
    for event_id, x in events.items():
        site.predict(event_id, features={"x": x})
    site.drain(take=10).close()
    answers = site.answers()
    assert {event_id for event_id, each in answers.items() if each["sim.forest"].error == MODEL_FAILED} == failed
    assert {event_id: each["sim.forest"].prediction for event_id, each in answers.items()} == {
        event_id: None if event_id in failed else x for event_id, x in events.items()
    }
    assert all((each["sim.line"].error, each["sim.line"].prediction) == (None, 7.0) for each in answers.values())
    assert len(started) == 1
    assert said == ["the process of a version has ended (-11): it is started and asked again"]
    started[0].close()


def told(site: Site, event_id: str) -> ShadowMetadata:
    """Return what is committed of the partition of an event."""
    place = site.log.places[GROUP, Partition(NAMES.whole, partition_of(event_id, PARTITIONS))]
    found = ShadowMetadata.decode(place.metadata)
    assert found is not None
    return found


def test_a_role_that_is_a_minute_behind_halves_the_share_and_doubles_it_when_it_has_caught_up() -> None:
    site = Site()
    site.announce("sim.forest", 1)
    site.log.now += 1
    for number in range(300):
        site.log.now += 1000
        site.predict(f"e{number}")
    role = site.role()
    loop = SimulatedLoop(site.log, GROUP, role, clock=lambda: site.clock)
    shares = []
    while not loop.idle():
        site.clock += 40_000
        loop.step({NAMES.whole: 10})
        shares.append(told(site, "e0").halved)
    assert max(shares) >= 3
    alerts = [read_alert(record.value or b"") for record in site.log.read(NAMES.topic("alerts"))]
    assert [alert.state for alert in alerts] == ["raised"]
    site.log.now += 1
    for number in range(300, 320):
        site.predict(f"e{number}")
    for _ in range(12):
        site.clock += 40_000
        loop.step({NAMES.whole: 2})
    assert told(site, "e0").halved == 0
    alerts = [read_alert(record.value or b"") for record in site.log.read(NAMES.topic("alerts"))]
    assert [alert.state for alert in alerts] == ["raised", "cleared"]
    notes = [told(site, event) for event in ("e0", "e1", "e2", "e3")]
    assert any(note.left_out for note in notes)


@pytest.mark.parametrize("seed", range(5))
def test_the_share_in_force_is_committed_so_a_restart_makes_the_same_choice(seed: int) -> None:
    """Both runs see the same offsets of their clocks; one dies again and again."""
    chosen = []
    for dies in (0.0, 0.15):
        rng = random.Random(seed)
        site = Site()
        site.announce("sim.forest", 1)
        site.log.now += 1
        for number in range(200):
            site.log.now += 1000
            site.predict(f"e{number}")
        while True:
            role = site.role()
            loop = SimulatedLoop(site.log, GROUP, role, lambda place: rng.random() < dies, clock=lambda: site.clock)  # noqa: B023
            try:
                while not loop.idle():
                    site.clock += 40_000
                    loop.step({NAMES.whole: 5})
                break
            except Crash:
                continue
        chosen.append(len(site.answers()))
        assert len(site.shadows()) == sum(note.shadowed for note in _notes(site))
        assert len(site.shadows()) + sum(note.left_out for note in _notes(site)) == 200
    assert all(count < 200 for count in chosen)


def _notes(site: Site) -> list[ShadowMetadata]:
    found = [ShadowMetadata.decode(place.metadata) for (group, _), place in site.log.places.items() if group == GROUP]
    return [note for note in found if note is not None]


def test_a_group_begins_with_the_first_prediction_that_a_named_model_can_have_answered() -> None:
    site = Site()
    site.announce("sim", 1)
    for number in range(10):
        site.log.now += 1
        site.predict(f"before-{number}")
    site.log.now += 1
    site.announce("sim.forest", 1)
    site.log.now += 1
    site.predict("after")
    site.drain()
    assert {*site.answers()} == {"after"}


def test_without_a_named_model_that_has_a_version_a_group_begins_at_the_end() -> None:
    site = Site()
    site.announce("sim", 1)
    site.log.now += 1
    site.predict("before")
    site.drain()
    site.announce("sim.line", 1)
    site.log.now += 1
    site.predict("after")
    site.drain()
    assert {*site.answers()} == {"after"}


def test_places_that_kafka_forgot_are_refused_and_go_on_where_the_operator_decides() -> None:
    site = Site()
    site.announce("sim.forest", 1)
    site.log.now += 1
    for number in range(20):
        site.predict(f"e{number}")
    memory = TopicMemory()
    known = short_ids(site.log.ids[NAMES.whole])
    ends = {number: len(site.log.records[Partition(NAMES.whole, number)]) for number in range(PARTITIONS)}
    memory.remember(NAMES.whole, known, ends)
    with pytest.raises(LogRefused, match="millstream shadow STREAM --new-epoch fresh"):
        SimulatedLoop(site.log, GROUP, site.role(memory=memory))
    site.settings["new_epoch"] = True
    loop = SimulatedLoop(site.log, GROUP, site.role(memory=memory))
    site.predict("after")
    loop.step({NAMES.whole: 100})
    assert {*site.answers()} == {"after"}


def test_what_is_forged_on_the_topics_is_ignored() -> None:
    site = Site()
    site.announce("sim.forest", 1)
    site.publish("sim.forest", 9)
    for key, value in ((b"published/sim.forest/0", b"rubbish"), (b"x", None), (None, b"")):
        site.log.append(Output(NAMES.topic("decisions"), 0, key, value))
    site.log.append(Output(NAMES.whole, 0, b"x", b"rubbish\x00\x00"))
    site.log.now += 1
    site.predict("a")
    site.drain()
    assert site.answers()["a"]["sim.forest"].examples == 1
    assert sum(note.unreadable for note in _notes(site)) == 1


def test_announcements_that_no_prediction_needs_any_more_are_forgotten() -> None:
    site = Site()
    role = site.role()
    loop = SimulatedLoop(site.log, GROUP, role)
    site.announce("sim.forest", 0)
    of = site.publish("sim.forest", 1)
    for number in range(300):
        site.say_announced(of)
        site.log.now += 10
        site.predict(f"e{number}")
        loop.step({NAMES.whole: 5})
    history = role._versions._announcements._histories["sim.forest"]
    assert len(history.entries) < 60
