"""Answers over HTTP under faults: answered ids = logged ids, none twice, every version a function of the log."""

from __future__ import annotations

import random
import signal
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from faults.http_rig import HttpRig
from faults.processes import Member
from faults.test_killed_roles import TRANSACTIONS, deaths
from faults_table import Tally

from millstream.embedded_kafka.broker import EmbeddedBroker
from millstream.processes.fork_server import ForkServer

Rounds = Callable[[int, int], int]

SERVER = {f"spool.{place}": (5, 40) for place in ("write.before", "write.after", "index.before", "index.after")} | {
    "spool.rotate.before": (2, 2),
    "spool.rotate.after": (2, 2),
}
SYNCED = {"spool.fsync.before": (5, 40), "spool.fsync.after": (5, 40)}
FORWARDER = {
    **dict.fromkeys(TRANSACTIONS, (2, 8)),
    "forwarder.note.before": (2, 8),
    "forwarder.note.after": (2, 8),
    "forwarder.delete.before": (1, 2),
}


@pytest.fixture
def http(
    bootstrap: str, prefix: str, tmp_path: Path, fork_server: ForkServer, request: pytest.FixtureRequest
) -> Iterator[HttpRig]:
    with HttpRig(
        bootstrap, prefix, tmp_path, fork_server, rate=100 if request.config.getoption("--faults") else 40
    ) as rig:
        rig.start("joiner")
        rig.start("learner")
        yield rig


def server_words(rig: HttpRig, *more: str) -> tuple[str, ...]:
    return ("--port", str(rig.port), "--spool", "1MiB", *more)


@pytest.mark.fault("F21")
def test_server_and_forwarder_killed_at_every_place_answer_and_log_each_event_once(
    http: HttpRig, rng: random.Random, rounds: Rounds, tally: Tally
) -> None:
    times = rounds(1, 10)
    server, forwarder = deaths(SERVER | SYNCED, rng, times), deaths(FORWARDER, rng, times)
    http.start_http("forwarder", armed=tuple(forwarder))
    http.start_http("server", *server_words(http, "--sync", "disk"), armed=tuple(server))
    http.call(rng)
    for name, plan in (("server-0", server), ("forwarder-0", forwarder)):
        member = http.http[name]
        died = lambda member=member, plan=plan: len(member.ends) >= len(plan)  # noqa: E731
        http.until(died, f"{name} to die {len(plan)} times", 60 * len(plan))
        said = member.log.read_text()
        assert all(f"failpoint {item.partition('=')[0]}: kill at call" in said for item in plan)
    http.judge_http()
    tally.row(len(server) + len(forwarder), 0, 0)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker(tmp_path / "broker", port=0)
    broker.start(timeout=120)
    yield broker
    broker.stop()


@pytest.mark.fault("F22")
@pytest.mark.full
def test_kafka_away_answers_go_on_and_a_server_that_starts_then_serves_what_it_served_last(
    broker: EmbeddedBroker,
    prefix: str,
    tmp_path: Path,
    fork_server: ForkServer,
    rng: random.Random,
    rounds: Rounds,
    tally: Tally,
) -> None:
    outages = [5.0] if rounds(1, 4) == 1 else [1.0, 10.0, 25.0, 45.0]
    with HttpRig(broker.status().bootstrap, prefix, tmp_path, fork_server, 40) as http:
        http.start("joiner")
        http.start("learner")
        http.start_http("forwarder")
        server = http.start_http("server", *server_words(http)[:2])
        http.call(rng)
        assert http.caller is not None
        for seconds in outages:
            http.broker_is_down = True
            broker.kill()
            heard = len(http.caller.heard)
            http.work(seconds / 2)
            assert len(http.caller.heard) > heard + 10 * seconds / 2, "answers go on"
            assert http.is_ready()
            server.kill()
            http.until(http.is_ready, "a server that starts without Kafka")
            heard = len(http.caller.heard)
            http.work(seconds / 2)
            assert len(http.caller.heard) > heard
            broker.start(timeout=120)
            http.broker_is_down = False
            # A role waits for a minute for Kafka, however many outages that minute has.
            there = len(http.caller.heard)
            http.until(lambda there=there: http.counted["predictions"] >= there, "what was answered to be on Kafka")
            http.await_progress("joiner", "learner")
        assert "Kafka is away: version" in server.log.read_text()
        http.judge_http()
    tally.row(len(outages), 0, 0)


@pytest.mark.fault("F22")
def test_two_workers_and_a_repeated_id_at_both(http: HttpRig, rng: random.Random, tally: Tally) -> None:
    http.start_http("forwarder")
    for number in ("0", "1"):
        http.start_http("server", *server_words(http), "--worker", instance=number)
    http.until(lambda: all("ready: " in member.said() for member in http.http.values()), "both workers")
    event = {"event_id": "twice", "features": {"x": 1.0, "y": 1.0}}

    def asked() -> list[dict[str, object]]:
        # Each has its own connection, so that both workers are asked.
        with ThreadPoolExecutor(16) as threads:
            found = threads.map(
                lambda _: httpx.post(f"{http.base}/v1/predict", json=event, timeout=30).json(), range(64)
            )
        return [{name: value for name, value in each.items() if name != "repeated"} for each in found]

    answers = asked()
    assert all(each == answers[0] for each in answers)
    http.call(rng)
    assert http.caller is not None
    http.caller.heard["twice"] = 200, answers[0]
    http.judge_http()
    lanes = {path.name for path in (http.stream.home / "state").glob("*/spool/lanes/*")}
    assert lanes == {"0", "1"}
    tally.row(64, 0, 0)


@pytest.mark.fault("F22")
def test_a_forwarder_that_was_stopped_and_replaced_writes_nothing_more(
    http: HttpRig, rng: random.Random, tally: Tally
) -> None:
    # The lock of the spool keeps a second forwarder away on one machine; here the first has lost it.
    zombie = http.start_http("forwarder")
    http.start_http("server", *server_words(http))
    http.call(rng)
    zombie.signal(signal.SIGSTOP)
    http.until(zombie.sleeps, "the first forwarder to be stopped")
    for lock in (http.stream.home / "state").glob("*/**/forwarder*.lock"):
        lock.unlink()
    second = Member(**{**vars(zombie), "process": None, "armed": deque(), "ends": [], "starts": 0})
    second.log = http.folder / "forwarder-second.log"
    http.http["forwarder-second"] = second
    second.start()
    seen = http.learned()
    http.until(lambda: http.learned() > seen, "the second forwarder to work")
    zombie.again = False
    zombie.signal(signal.SIGCONT)
    http.until(lambda: zombie.ends == [75], "the first to end with 75")
    http.judge_http()
    tally.row(1, 0, 0)
