"""A search on a Dask cluster: the same as here, and nothing that a worker answers is ever loaded as a pickle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_log import records, simple_rows, stream_with, trained
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from millstream.estimators.fitting import CannotTrain

distributed = pytest.importorskip("distributed")
SEARCH = {"logisticregression__C": [1e-5, 0.01, 1.0], "logisticregression__fit_intercept": [True, False]}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
    ) as running:
        yield running


def address(cluster: Any) -> str:
    return str(cluster.scheduler_address).replace("tcp://", "dask://")


def linear() -> Any:
    return make_pipeline(DictVectorizer(sparse=False), LogisticRegression(random_state=1))


def test_a_cluster_finds_the_same_parameters_and_gives_the_same_model(cluster: Any, tmp_path: Path) -> None:
    log = records(simple_rows(400))
    here = trained(stream_with(linear, search=SEARCH, candidates=6), log, tmp_path)
    there = trained(stream_with(linear, search=SEARCH, candidates=6, cluster=address(cluster)), log, tmp_path)
    assert there == here
    assert len(here.table) == 6 + 2


def test_the_pickle_of_a_worker_is_refused_and_not_executed(cluster: Any, tmp_path: Path) -> None:
    proof = tmp_path / "executed"
    with distributed.Client(cluster, set_as_default=False) as client:
        client.run(_turn_hostile, str(proof))
        try:
            stream = stream_with(linear, search=SEARCH, candidates=6, cluster=address(cluster))
            with pytest.raises(CannotTrain, match="the cluster dask://"):
                trained(stream, records(simple_rows(400)), tmp_path)
        finally:
            client.run(_turn_honest)
    assert not proof.exists()


def _turn_hostile(proof: str) -> None:
    from millstream.training import scoring

    class Boom:
        def __reduce__(self) -> Any:
            import os

            return os.system, (f"touch {proof}",)

    scoring.honest = scoring.scored  # type: ignore[attr-defined]
    scoring.scored = lambda *given: Boom()  # type: ignore[assignment]


def _turn_honest() -> None:
    from millstream.training import scoring

    scoring.scored = scoring.honest  # type: ignore[attr-defined]


def test_a_cluster_that_is_not_there_fails_the_job_with_its_address(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "1s")
    stream = stream_with(linear, search=SEARCH, cluster="dask://127.0.0.1:9")
    monkeypatch.setattr("millstream.training.cluster._CONNECT_SECONDS", 2)
    with pytest.raises(CannotTrain, match=r"the cluster dask://127\.0\.0\.1:9"):
        trained(stream, records(simple_rows(400)), tmp_path)
