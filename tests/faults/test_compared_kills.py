"""The roles that compare models, killed with -9 at each place that could be torn, on a real Kafka."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults.rig import Rig
from faults.shadow_oracle import insist, insist_on_comparisons, shadows
from faults.test_broker_outages import assert_alone_with_its_new_session
from faults.test_killed_roles import LOCAL, TRANSACTIONS, deaths
from faults.verdict import due
from kafka import TopicPartition
from raw_kafka import raw_admin
from system.oracle import read_all

from millstream.embedded_kafka.broker import EmbeddedBroker
from millstream.processes.fork_server import ForkServer
from schemas.model_updates import Promoted, read_model_update

MODELS = 3
STREAM = Path(__file__).with_name("compared.py")
WITH_A_RULE = Path(__file__).with_name("promoted.py")
OUTAGES = (1, 4, 10, 25)


@pytest.fixture
def compared(
    bootstrap: str, prefix: str, tmp_path: Path, fork_server: ForkServer, rounds: Callable[[int, int], int], rate: float
) -> Iterator[Rig]:
    """Lend a rig of the stream with several models."""
    most = rounds(60_000, 300_000)
    with Rig(bootstrap, prefix, tmp_path, fork_server, ref=STREAM, most_events=most, rate=rate) as rig:
        yield rig


def start_loop(rig: Rig) -> None:
    """Start the roles that serve and learn, of all models."""
    for role in ("predictor", "joiner", "learner", "learner.bayes", "learner.tree"):
        rig.start(role)


def finish(rig: Rig, models: int = MODELS) -> tuple[int, int]:
    """End the publisher, wait until all is compared, and judge; return the numbers of shadows and comparisons."""
    rig.end_publishing()
    labelled = due(rig.stream)
    rig.until(lambda: rig.counted["examples"] >= len(labelled), f"{len(labelled)} examples")
    for role in ("shadow", "judge"):
        rig.until(lambda role=role: lag(rig, role) == 0, f"the {role} to have read all")
    return insist(rig.stream, models=models), insist_on_comparisons(rig.stream, labelled)


def promotions(rig: Rig, kind: str = "decisions") -> list[Promoted]:
    """Return the promotions that were decided by the rule or the guard."""
    records = read_all(rig.stream.bootstrap, rig.names.topic(kind))
    states = [read_model_update(record.value).state for record in records]
    return [state for state in states if isinstance(state, Promoted)]


def insist_on_one_promotion(rig: Rig) -> None:
    """Fail unless the rule has decided once, all of it, and the promoted model has answered since."""
    [decision] = promotions(rig)
    assert promotions(rig, "models") == [decision]
    assert (decision.by, decision.model, decision.before) == ("rule", "promoted.line", "promoted")
    served = [shadow.outcome.model for _, shadow in sorted(shadows(rig.stream), key=lambda each: each[1].time)]
    assert {*served[-20:]} == {"promoted.line"}


def lag(rig: Rig, role: str) -> int:
    """Return how many records of a role's topics its group has not read."""
    topics = {"shadow": ("predictions",), "judge": ("shadows", "labels")}[role]
    with raw_admin(rig.cluster) as client:
        group = rig.names.group(role)
        committed = client.list_group_offsets([group])[group]
    names = [rig.names.topic(topic) for topic in topics]
    # The client finds the ends of the topics that it knows.
    assert all(rig._ends.partitions_for_topic(name) == {0, 1, 2} for name in names)
    places = [TopicPartition(name, number) for name in names for number in range(3)]
    ends = rig._ends.end_offsets(places)
    return sum(end - (committed[place].offset if place in committed else 0) for place, end in ends.items())


def test_shadow_and_judge_killed_at_every_place_that_could_be_torn(
    compared: Rig, rng: random.Random, rounds: Callable[[int, int], int]
) -> None:
    times = rounds(1, 10)
    few = {place: TRANSACTIONS[place] for place in ("transaction.offsets.after", "transaction.commit.after")}
    places = TRANSACTIONS if times > 1 else few
    shadow, judge = deaths(places, rng, times), deaths(places | (LOCAL if times > 1 else {}), rng, times)
    start_loop(compared)
    compared.publish()
    compared.start("shadow", "0", *shadow)
    compared.start("judge", "0", *judge)
    for name, plan in (("shadow-0", shadow), ("judge-0", judge)):
        compared.until(
            lambda name=name, plan=plan: len(compared.members[name].ends) == len(plan),
            f"{name} to die {len(plan)} times",
            60 * len(plan),
        )
    compared.recover()
    shadows, comparisons = finish(compared)
    assert shadows > 50
    assert comparisons > 30


@pytest.mark.full
def test_killed_at_random_moments_two_of_each_write_each_event_once(
    compared: Rig, rng: random.Random, rounds: Callable[[int, int], int]
) -> None:
    start_loop(compared)
    for number in ("0", "1"):
        compared.start("shadow", number)
        compared.start("judge", number)
    compared.publish()
    for _ in range(rounds(3, 30)):
        compared.kill(f"{rng.choice(['shadow', 'judge'])}-{rng.randrange(2)}")
        compared.work(rng.uniform(0, 1))
    finish(compared)


@pytest.mark.full
def test_a_shadow_role_that_lags_answers_with_what_was_known_then(compared: Rig) -> None:
    """It starts when all is predicted and learned, and stops and goes on in between."""
    start_loop(compared)
    compared.publish()
    compared.until(lambda: compared.learned() >= 60, "60 examples to be learned")
    compared.start("judge")
    member = compared.start("shadow")
    compared.until(lambda: compared.counted["shadows"] > 10, "the first shadows")
    member.again = False
    member.kill()
    compared.until(lambda: compared.learned() >= 90, "90 examples to be learned")
    member.again = True
    member.start()
    shadows, _ = finish(compared)
    assert shadows >= 60


def start_all_with_a_rule(rig: Rig, *deaths_of_the_referee: str) -> None:
    for role in ("predictor", "joiner", "learner", "learner.line", "shadow", "judge"):
        rig.start(role)
    rig.start("referee", "0", *deaths_of_the_referee)


@pytest.mark.full
def test_a_referee_killed_at_every_place_that_could_be_torn_decides_once(
    bootstrap: str,
    prefix: str,
    tmp_path: Path,
    fork_server: ForkServer,
    rng: random.Random,
    rounds: Callable[[int, int], int],
    rate: float,
) -> None:
    # It sends something only where it decides: it dies there first, and the process after these makes the decision.
    sends = [place for place in TRANSACTIONS if "send" in place]
    plan = [f"{place}=kill@1" for place in sends]
    plan += deaths({place: (1, 3) for place in TRANSACTIONS if place not in sends}, rng, rounds(1, 10))
    with Rig(bootstrap, prefix, tmp_path, fork_server, ref=WITH_A_RULE, rate=rate) as rig:
        start_all_with_a_rule(rig, *plan)
        rig.publish()
        referee = rig.members["referee-0"]
        rig.until(lambda: len(referee.ends) == len(plan), f"the referee to die {len(plan)} times", 60 * len(plan))
        rig.until(lambda: promotions(rig), "the decision")
        rig.recover()
        rig.work(2)
        finish(rig, models=2)
        insist_on_one_promotion(rig)


@pytest.mark.full
def test_outages_of_the_broker_repeat_and_lose_no_comparison_and_one_decision_is_made(
    prefix: str,
    tmp_path: Path,
    fork_server: ForkServer,
    rng: random.Random,
    rounds: Callable[[int, int], int],
    rate: float,
) -> None:
    broker = EmbeddedBroker(tmp_path / "broker", port=0)
    broker.start(timeout=120)
    try:
        with Rig(broker.status().bootstrap, prefix, tmp_path, fork_server, ref=WITH_A_RULE, rate=rate) as rig:
            start_all_with_a_rule(rig)
            rig.publish()
            for number in range(rounds(1, 8)):
                rig.outage(broker, rng.choice(OUTAGES) if number else OUTAGES[0])
                rig.await_progress("shadow", "judge")
                assert_alone_with_its_new_session(tmp_path / "broker" / "logs" / "server.log")
            rig.until(lambda: promotions(rig), "the decision")
            rig.work(2)
            finish(rig, models=2)
            insist_on_one_promotion(rig)
    finally:
        broker.stop()
