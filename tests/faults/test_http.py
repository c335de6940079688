"""Answers over HTTP under faults: answered ids = logged ids, none twice, every version a function of the log."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults.http_rig import HttpRig
from faults.test_killed_roles import TRANSACTIONS, deaths
from faults_table import Tally

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
