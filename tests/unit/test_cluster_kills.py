"""A search on a Dask cluster whose workers, or whose scheduler, are killed: it goes on with the others, or says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from system.dask_processes import Dask, dask

from millstream.estimators.fitting import CannotTrain
from millstream.training.cluster import on_cluster
from millstream.training.searching import Fit, one_by_one

pytest.importorskip("distributed")
pytestmark = pytest.mark.full


def fits(count: int) -> list[Fit]:
    """Return fits of half a second each."""
    chance = np.random.default_rng(1)
    rows = chance.normal(size=(4000, 20))
    labels = rows[:, 0] + chance.normal(size=4000) > 0
    part = (rows, labels, None)
    return [
        Fit(HistGradientBoostingClassifier(max_iter=20 + n, random_state=1), part, part, "accuracy", "")
        for n in range(count)
    ]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Dask]:
    with dask(tmp_path, 2) as found:
        yield found


def scores(
    running: Dask, several: Sequence[Fit], after_first: Callable[[], Any], alone_seconds: float = 60.0
) -> list[Any]:
    found: list[Any] = []
    for score in on_cluster(running.address, alone_seconds)(several):
        if not found:
            after_first()
        found.append([*score])
    return found


def test_one_of_two_workers_is_killed_and_the_search_goes_on(running: Dask) -> None:
    several = fits(8)
    found = scores(running, several, lambda: running.kill(running.workers[0]))
    assert found == [[*each] for each in one_by_one(several)]


def test_all_workers_are_killed_and_another_one_comes(running: Dask) -> None:
    several = fits(6)

    def replaced() -> None:
        for each in running.workers:
            running.kill(each)
        running.add_worker()

    assert scores(running, several, replaced) == [[*each] for each in one_by_one(several)]


def test_no_worker_is_left_and_the_search_says_so(running: Dask) -> None:
    with pytest.raises(CannotTrain, match="it has had no worker for 3 s"):
        scores(running, fits(6), lambda: [running.kill(each) for each in running.workers], alone_seconds=3)


def test_the_scheduler_is_killed_and_the_search_says_so(running: Dask) -> None:
    with pytest.raises(CannotTrain, match="the cluster dask://"):
        scores(running, fits(6), lambda: running.kill(running.scheduler))
