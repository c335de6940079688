"""A job as `millstream jobs` shows it: how far it is while it runs, and why it has ended afterwards."""

from __future__ import annotations

import json
from typing import Any

import pytest

from consumers.loop.job_states import JobStates
from millstream.cli.jobs import stands
from millstream.reading.jobs import job_row
from schemas.jobs import Job, JobState, JobStateName

CLAIM = {"epoch": 1, "topic_id": "t", "begin": 0, "end": 9}
STEP = {"done": 3, "of": 8, "text": "search: 3 candidates on 105 rows"}


def states(*said: tuple[JobStateName, dict[str, Any]]) -> JobStates:
    found = JobStates()
    found.take(0, Job("gbdt.1", "gbdt", "", "ann", 1))
    for at, (state, detail) in enumerate(said, 1):
        found.take(at, JobState("gbdt.1", "gbdt", state, 1, "trainer-0", at, json.dumps(detail)))
    return found


def shown(*said: tuple[JobStateName, dict[str, Any]]) -> str | None:
    known = states(("running", CLAIM), ("progress", STEP), *said).get("gbdt.1")
    assert known is not None
    return stands(job_row(known))


def test_a_running_job_says_how_far_it_is() -> None:
    assert shown() == "3 of 8 search: 3 candidates on 105 rows"


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_job_that_has_ended_says_why_and_not_how_far_it_was(state: JobStateName) -> None:
    assert shown((state, {"why": "the labels were wrong"})) == "the labels were wrong"
