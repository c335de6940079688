"""A predictor with boosted trees: events in, answers out, against `predict_proba` on the same batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from benchmarks import material
from benchmarks.figures import Figure, Spread, ratios
from benchmarks.predictor_process import batches_of, predictor_of, processor_seconds
from benchmarks.rig import Broken, Rig
from benchmarks.throughput import Size
from consumers.model.estimator_model import RowForm, one_thread, wrap_estimator
from millstream.processes.gc_tuning import rest
from schemas.events import read_event, read_prediction

_TRAINED: Final = 45_000
_FORM: Final = RowForm("dicts")


def batch_predictor(rig: Rig, size: Size) -> list[Figure]:
    """Events a second of processor time, against the estimator's own method on the same batches of 500."""
    estimator = trees()
    batches = batches_of(size.events)
    features = [
        [read_event(record.value, default_time=0).features for record in records]
        for batch in batches
        for records in batch.values()
    ]
    predictor = predictor_of(wrap_estimator(estimator, "binary", _FORM))
    shares = estimator.predict_proba(features[0])
    for output, share in zip(predictor.process(batches[0]), shares, strict=False):
        said = read_prediction(output.value or b"").outcome.probabilities
        if said != {"false": float(share[0]), "true": float(share[1])}:
            raise Broken(f"the predictor answers {said}, and the estimator {share}")
    rounds: list[tuple[float, float]] = []
    rest()  # as in a predictor's process
    for _ in range(2 * size.rounds + 1):
        ours = processor_seconds(lambda: each_of(predictor.process, batches))
        with one_thread():
            bare = processor_seconds(lambda: each_of(estimator.predict_proba, features))
        rounds.append((ours, bare))
    each = [tuple(seconds / size.events * 1e6 for seconds in one) for one in rounds]
    ours, bare = (tuple(one[column] for one in each) for column in range(2))
    absolute = {
        "ours, µs an event": Spread(ours),
        "predict_proba, µs": Spread(bare),
        "ours without it, µs": Spread(tuple(mine - its for mine, its in zip(ours, bare, strict=True))),
    }
    what = "predictor with boosted trees, in batches: events/s against predict_proba on the same batches"
    return [Figure("batch-predictor", what, ratios(bare, ours), "", "at least", 0.6, absolute)]


def each_of(work: Callable[[Any], object], batches: Iterable[Any]) -> None:
    """Call something with each batch, and drop what it returns, as it is dropped once it is sent."""
    for batch in batches:
        work(batch)


def trees() -> Any:
    """Return boosted trees over dictionaries, as the example in the documentation has them."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.pipeline import make_pipeline

    rows = [row for _, row in material.cycle(_TRAINED)]
    estimator = make_pipeline(DictVectorizer(sparse=False), HistGradientBoostingClassifier(random_state=1))
    with one_thread():
        return estimator.fit([row.features for row in rows], [row.label for row in rows])
