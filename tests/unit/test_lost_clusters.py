"""Searches on clusters of Dask and Ray that lose a worker, go away, or answer with a pickle that attacks."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from batch_log import records, simple_rows, stream_with, trained
from search_clusters import SearchCluster, started
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from consumers.trainer.training_messages import TrainingResult
from millstream.estimators.fitting import CannotTrain

SEARCH = {"logisticregression__C": [1e-5, 0.01, 1.0], "logisticregression__fit_intercept": [True, False]}
SECONDS = 300


def _installed(kind: str, package: str) -> Any:
    why = f"{package} is not installed: pip install 'millstream[{kind}]'"
    return pytest.mark.skipif(find_spec(package) is None, reason=why)


KINDS = [
    pytest.param("dask", marks=_installed("dask", "distributed")),
    pytest.param("ray", marks=[_installed("ray", "ray"), pytest.mark.full]),
]


@pytest.fixture(scope="module", params=KINDS)
def cluster(request: pytest.FixtureRequest) -> Iterator[SearchCluster]:
    # Ray's sockets are in this folder, and their names must be short.
    with tempfile.TemporaryDirectory(prefix="mill-") as folder, started(request.param, Path(folder)) as running:
        yield running


@pytest.fixture(autouse=True)
def _honest(cluster: SearchCluster) -> Iterator[None]:
    yield
    cluster.unsay()


def search(folder: Path, address: str | None) -> TrainingResult:
    def linear() -> Any:
        return make_pipeline(DictVectorizer(sparse=False), LogisticRegression(random_state=1))

    stream = stream_with(linear, search=SEARCH, candidates=6, cluster=address)
    return trained(stream, records(simple_rows(400)), folder)


@contextmanager
def waiting_search(cluster: SearchCluster, folder: Path) -> Iterator[Future[TrainingResult]]:
    """Begin a search, and wait until both workers have a fit, which ends when the cluster is told to go on."""
    cluster.say("wait")
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(search, folder, cluster.address)
        try:
            cluster.until(lambda: len(cluster.told("asked")) >= 2 or found.done())
            assert not found.done(), found.exception()
            yield found
        finally:
            cluster.say("go")


def test_a_killed_workers_fits_are_run_by_another_with_the_same_result(cluster: SearchCluster, tmp_path: Path) -> None:
    with waiting_search(cluster, tmp_path) as found:
        killed = min(cluster.told("asked"))
        os.kill(killed, signal.SIGKILL)
        cluster.say("go")
        there = found.result(SECONDS)
    assert there == search(tmp_path, None)
    assert len(there.table) == 6 + 2, there
    assert killed not in cluster.processes()


def test_the_pickle_of_a_worker_is_refused_and_not_executed(cluster: SearchCluster, tmp_path: Path) -> None:
    cluster.say("hostile")
    with pytest.raises(CannotTrain, match=f"the cluster {cluster.address}: an answer is a pickle, which names "):
        search(tmp_path, cluster.address)
    assert cluster.told("executed") <= cluster.processes(), "none but the cluster's own processes has executed it"


@pytest.mark.full
def test_a_cluster_that_goes_away_in_the_middle_fails_the_job_with_its_address(
    cluster: SearchCluster, tmp_path: Path
) -> None:
    with waiting_search(cluster, tmp_path) as found:
        cluster.kill()
        with pytest.raises(CannotTrain) as failed:
            found.result(SECONDS)
    assert str(failed.value).startswith(f"the cluster {cluster.address}: it "), failed.value
    assert "\n" not in str(failed.value)
    # Away when the next search begins.
    with pytest.raises(CannotTrain) as failed:
        search(tmp_path, cluster.address)
    assert str(failed.value).startswith(f"the cluster {cluster.address}: it "), failed.value
    assert "\n" not in str(failed.value)
