"""A search on a Dask cluster: the same as here, and nothing that a worker answers is ever loaded as a pickle."""

from __future__ import annotations

import contextlib
import os
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


@pytest.mark.parametrize("how", ["answer", "pickled answer", "exception"])
def test_the_pickle_of_a_worker_is_refused_and_not_executed(how: str, cluster: Any, tmp_path: Path) -> None:
    proof = tmp_path / "executed"
    stream = stream_with(linear, search=SEARCH, candidates=6, cluster=address(cluster))
    with distributed.Client(cluster, set_as_default=False) as client:
        # The scheduler runs in this process, and workers load their own exceptions; the search has its own process.
        theirs = {os.getpid(), *client.run(os.getpid).values()}
        client.run(_turn_hostile, str(proof), how)
        try:
            # The trap works: a client that unpickles what it gets is caught.
            with contextlib.suppress(Exception):
                client.submit(_asked, pure=False).result(timeout=20)
            assert proof.exists()
            proof.unlink()
            with pytest.raises(CannotTrain, match="the cluster dask://"):
                trained(stream, records(simple_rows(400)), tmp_path)
        finally:
            client.run(_turn_honest)
    assert not proof.exists() or theirs.issuperset(map(int, proof.read_text().split()))


def _asked() -> Any:
    from millstream.training import scoring

    return scoring.scored(None, (), (), "", "")  # type: ignore[arg-type]


def _turn_hostile(proof: str, how: str) -> None:
    """Make a worker answer with a pickle that touches a file, where the client has not asked for pickles too."""
    from distributed.protocol import core

    from millstream.training import scoring

    class Boom(Exception):  # noqa: N818
        def __reduce__(self) -> Any:
            import os

            return os.system, (f"echo $PPID >> {proof}",)

    def scored(*given: Any) -> Any:
        if how == "exception":
            raise Boom
        return Boom()

    def split(obj: Any, serializers: Any = None, **more: Any) -> Any:
        return core.honest(obj, serializers=("pickle",) if how == "pickled answer" else serializers, **more)

    scoring.honest, scoring.scored = scoring.scored, scored  # type: ignore[attr-defined]
    core.honest, core.serialize_and_split = core.serialize_and_split, split


def _turn_honest() -> None:
    from distributed.protocol import core

    from millstream.training import scoring

    scoring.scored = scoring.honest  # type: ignore[attr-defined]
    core.serialize_and_split = core.honest


def test_a_cluster_that_is_not_there_fails_the_job_with_its_address(tmp_path: Path) -> None:
    stream = stream_with(linear, search=SEARCH, cluster="dask://127.0.0.1:9")
    with pytest.raises(CannotTrain, match=r"the cluster dask://127\.0\.0\.1:9"):
        trained(stream, records(simple_rows(400)), tmp_path)
