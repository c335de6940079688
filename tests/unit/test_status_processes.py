"""Crashed and restarted processes, from the members of groups and the locks of this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from millstream.config.instance_id import claim
from millstream.status.processes import Members, clients, crashed, started_again
from runtime.kafka_client.client import GroupMember
from schemas.topics import Names

NAMES = Names("fraud", prefix="ann-")
HOLDS = """
import pathlib, sys, time
from millstream.config.instance_id import claim
with claim("predictor", "0", pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def members(*ids: tuple[str, str], host: str = "/127.0.0.1") -> Members:
    return {
        "predictor": [GroupMember(f"ann-fraud.predictor-{name}", frozenset(), joined, host) for name, joined in ids]
    }


def test_a_member_whose_lock_is_released_has_crashed(tmp_path: Path) -> None:
    with claim("predictor", "0", tmp_path), claim("predictor", "1", tmp_path):
        assert crashed(members(("0", "a"), ("1", "b")), NAMES, tmp_path) == ()
    assert crashed(members(("0", "a"), ("1", "b")), NAMES, tmp_path) == ("predictor-0", "predictor-1")
    assert crashed(members(), NAMES, tmp_path) == (), "one that ended in order has left the group"


def test_a_process_that_is_killed_has_crashed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"held\n"
            assert crashed(members(("0", "a")), NAMES, tmp_path) == ()
        finally:
            process.kill()
    assert crashed(members(("0", "a")), NAMES, tmp_path) == ("predictor-0",)


def test_nothing_is_known_of_members_elsewhere(tmp_path: Path) -> None:
    claim("predictor", "0", tmp_path).release()
    assert crashed(members(("0", "a"), host="/10.0.0.7"), NAMES, tmp_path) == ()
    assert crashed(members(("7", "a")), NAMES, tmp_path) == (), "no lock here: it works in another home"
    others = {"predictor": [GroupMember(None, frozenset(), "a", "/127.0.0.1")]}
    assert crashed(others, NAMES, tmp_path) == ()


def test_each_process_is_told_with_its_client() -> None:
    """Also beside members of an earlier release, which tell none, and of programs that are not ours."""
    both = [
        GroupMember(f"ann-fraud.predictor-{name}", frozenset(), name, client=client)
        for name, client in (("1", "kafka-python 3.0.12"), ("0", "librdkafka 2.16.1"), ("old", ""))
    ]
    others = [GroupMember(None, frozenset(), "x", client="librdkafka 9"), GroupMember("other", frozenset(), "y")]
    assert clients("predictor", [*both, *others], NAMES) == {
        "predictor-0": "librdkafka 2.16.1",
        "predictor-1": "kafka-python 3.0.12",
        "predictor-old": "",
    }


def test_looking_does_not_keep_a_process_from_its_name(tmp_path: Path) -> None:
    claim("predictor", "0", tmp_path).release()
    assert crashed(members(("0", "a")), NAMES, tmp_path) == ("predictor-0",)
    claim("predictor", "0", tmp_path).release()


def test_another_member_under_the_same_name_was_started_again() -> None:
    before, now = members(("0", "a"), ("1", "b")), members(("0", "c"), ("1", "b"), ("2", "d"))
    assert started_again(before, now, NAMES) == ("predictor-0",)
    assert started_again({}, now, NAMES) == ()
