"""Training beside the loop: a predictor's latency while a search runs, and the same search on a Dask cluster."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks import material
from benchmarks.figures import Figure, Spread, percentile, ratios
from benchmarks.latency import one_round
from benchmarks.rig import Broken, Rig, until
from benchmarks.role import STREAM
from benchmarks.throughput import Size, publish_untrained
from consumers.trainer.training_messages import TrainingRequest, TrainingResult
from millstream import BatchModel, Stream
from millstream.config.settings import Settings
from millstream.training.reading import collected
from millstream.training.training import Task, train
from runtime.kafka_client.records import PlainRecord
from schemas.topics import Names

_EXAMPLES: Final = 45_000
_LATENCY_SECONDS: Final = 20.0  # 10,000 predictions
_TOGETHER: Final = 500
_FILE: Final = f"""
from river import linear_model
from benchmarks.batch_training import searched
from millstream import Stream

own = linear_model.LogisticRegression
stream = Stream(name="{STREAM}", task="binary", model=own, batch={{"trees": searched(1000)}})
"""


def searched(most: int, cluster: str | None = None) -> BatchModel:
    """Return boosted trees whose search fits up to `most` candidates."""
    name = "histgradientboostingclassifier__"
    search: dict[str, list[Any]] = {
        f"{name}max_leaf_nodes": [7, 15, 31, 63],
        f"{name}learning_rate": [0.03, 0.05, 0.1, 0.2],
        f"{name}l2_regularization": [0.0, 0.1, 1.0, 10.0],
    }
    return BatchModel(_trees, search=search, candidates=most, seed=7, cluster=cluster)


def _trees() -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.pipeline import make_pipeline

    return make_pipeline(DictVectorizer(sparse=False), HistGradientBoostingClassifier(random_state=1))


def batch_quiet(rig: Rig, size: Size) -> list[Figure]:
    """p99 of 10,000 predictions at 500/s while a search runs, over the p99 just before."""
    names = rig.names("batch-quiet")
    features, predictions = names.topic("features"), names.topic("predictions")
    rig.load(names.topic("examples"), ((0, None, value) for value in material.examples(_EXAMPLES)))
    publish_untrained(rig, names)
    process = rig.role("predictor", names)
    quiet, busy = [], []
    try:
        process.until_ready()
        one_round(rig, features, predictions, process, size.seconds)
        for number in range(size.rounds):
            quiet.append(percentile(one_round(rig, features, predictions, process, _LATENCY_SECONDS), 0.99))
            with searching(rig, names, number):
                busy.append(percentile(one_round(rig, features, predictions, process, _LATENCY_SECONDS), 0.99))
    finally:
        process.end()
    absolute = {"without, p99 ms": Spread(tuple(quiet)), "while it searches, p99 ms": Spread(tuple(busy))}
    what = "p99 of 10,000 predictions at 500/s while a search runs, against before"
    return [Figure("batch-quiet", what, ratios(busy, quiet), "", "at most", 1.5, absolute)]


@contextmanager
def searching(rig: Rig, names: Names, number: int) -> Iterator[None]:
    """Have the process of a training search all the time."""
    folder = rig.folder / f"search-{number}"
    folder.mkdir()
    (folder / "batch.py").write_text(_FILE)
    topic = names.topic("examples")
    log_id = rig.cluster.topic_info(topic)[topic].id
    request = TrainingRequest(
        stream=str(folder / "batch.py"),
        model="trees",
        job="benchmark",
        attempt=1,
        topic_id=log_id,
        begin=0,
        end=_EXAMPLES,
        folder=str(folder),
    )
    environment = {**os.environ, **Settings(folder, rig.cluster.bootstrap, names.prefix).environment()}
    environment["PYTHONPATH"] = os.pathsep.join((str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])))
    said = folder / "said"
    with said.open("wb") as out:
        command = [sys.executable, "-P", "-m", "millstream.training.child"]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, env=environment, start_new_session=True)
    try:
        assert child.stdin is not None
        child.stdin.write(msgspec.json.encode(request))
        child.stdin.close()
        until(lambda: b"search: " in said.read_bytes(), 120, f"the search does not begin: {said.read_bytes()[-300:]!r}")
        yield
        if child.poll() is not None:
            raise Broken(f"the search has ended before the predictions: {said.read_bytes()[-300:]!r}")
    finally:
        child.kill()
        child.wait()


def batch_cluster(rig: Rig, size: Size) -> list[Figure]:
    """The same search on a Dask cluster with two workers and here: it must give the same model."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1") as cluster:
        address = str(cluster.scheduler_address).replace("tcp://", "dask://")
        here, own = _timed(rig.folder, None)
        there, theirs = _timed(rig.folder, address)
    if own != theirs:
        raise Broken(f"the cluster gives {theirs.parameters}, and here {own.parameters} are found")
    absolute = {"here, s": Spread((here,)), "on two workers, s": Spread((there,))}
    what = "search of 20 candidates on a Dask cluster with two workers: time against here, for the same model"
    return [Figure("batch-cluster", what, Spread((there / here,)), "", "at most", 10.0, absolute)]


def _timed(folder: Path, cluster: str | None) -> tuple[float, TrainingResult]:
    from river import linear_model

    whole = Stream(
        name=STREAM, task="binary", model=linear_model.LogisticRegression, batch={"trees": searched(20, cluster)}
    )
    values = enumerate(material.examples(_EXAMPLES))
    records = [PlainRecord("examples", 0, place, 1050 + place, None, value) for place, value in values]
    pieces = (records[begin : begin + _TOGETHER] for begin in range(0, _EXAMPLES, _TOGETHER))
    task = Task(whole.of_model("trees"), folder)
    examples = collected(task.stream, task.model, pieces, _EXAMPLES, None, _no_progress)
    began = time.monotonic()
    result = train(task, examples, None, _no_progress)
    return time.monotonic() - began, result


def _no_progress(done: int, of: int, text: str) -> None:
    """Show nothing."""
