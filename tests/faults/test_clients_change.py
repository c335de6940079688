"""One group with members of both Kafka clients, and roles that change their client under load (F1, F3)."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Callable

import pytest
from faults.rig import ORDER, Rig
from faults_table import Tally

from runtime.kafka_client.library_names import KAFKA_PYTHON, LIBRDKAFKA

Rounds = Callable[[int, int], int]
pytestmark = pytest.mark.any_client


def clients_of(rig: Rig, role: str) -> list[str]:
    """Return the client of each member of a role's group, as the members themselves tell it."""
    with rig.cluster.admin() as admin:
        return sorted(member.client.partition(" ")[0] for member in admin.describe_group(rig.names.group(role)).members)


def with_client(rig: Rig, name: str, client: str) -> None:
    """Have the next starts of a process use this client."""
    member = rig.members[name]
    member.environment = {**member.environment, "MILLSTREAM_CLIENT": client}


def start_with(rig: Rig, role: str, instance: str, client: str) -> None:
    rig.start(role, instance, words=("--client", client))


@pytest.mark.fault("F3")
def test_predictors_of_both_clients_in_one_group_are_killed_and_answer_each_event_once_and_in_order(
    rig: Rig, rng: random.Random, rounds: Rounds, tally: Tally
) -> None:
    clients = (KAFKA_PYTHON, LIBRDKAFKA, LIBRDKAFKA)
    for number, client in enumerate(clients):
        start_with(rig, "predictor", str(number), client)
    start_with(rig, "joiner", "0", LIBRDKAFKA)
    start_with(rig, "learner", "0", KAFKA_PYTHON)
    rig.publish()
    rig.until(lambda: clients_of(rig, "predictor") == sorted(clients), "both clients to be in the group")
    times = rounds(6, 50)
    for number in range(times):
        rig.kill(f"predictor-{number % 3}")
        rig.work(rng.uniform(0, 1))
    assert clients_of(rig, "predictor") == sorted(clients)
    rig.finish(tally, times)
    kcat = shutil.which("kcat")
    if kcat is not None:
        predictions = rig.names.topic("predictions")
        words = ["-b", rig.stream.bootstrap, "-q", "-C", "-e", "-t", predictions, "-f", "%p %o\n"]
        seen = subprocess.run([kcat, *words], capture_output=True, text=True, timeout=60, check=True).stdout
        assert len(set(seen.split("\n")) - {""}) == rig.counted["predictions"]


@pytest.mark.full
@pytest.mark.fault("F1")
@pytest.mark.parametrize(
    "dies", [pytest.param(False, id="ends", marks=pytest.mark.full), pytest.param(True, id="dies")]
)
def test_roles_that_change_their_client_and_change_back_lose_and_repeat_nothing(
    rig: Rig, rounds: Rounds, tally: Tally, dies: bool
) -> None:
    """The committed places, their metadata and the joiner's store are the same for both clients."""
    for role in ORDER:
        rig.start(role)
        with_client(rig, f"{role}-0", KAFKA_PYTHON)
    rig.publish()
    times = rounds(2, 10) // 2 * 2  # back at the end
    for turn in range(times):
        client = (LIBRDKAFKA, KAFKA_PYTHON)[turn % 2]
        for role in ORDER:
            name = f"{role}-0"
            with_client(rig, name, client)
            if dies:
                rig.kill(name)
            else:
                rig.members[name].end()
                rig.start(role)
                rig.await_progress(role)
            rig.until(lambda role=role, client=client: clients_of(rig, role) == [client], f"{name} on {client}")
    rig.finish(tally, times * len(ORDER))
