"""Checks of a batch model: it is fitted on sample events as a job would do it, twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from consumers.model.graph_conversion import MOST_APART, CannotConvert, GraphDiffers, tested_graph
from consumers.model.river_model import ModelError
from consumers.model.row_form import class_array
from millstream.check.findings import Finding
from millstream.check.sample_events import sample
from millstream.estimators.declared_form import form_of
from millstream.estimators.extras import missing_extras
from millstream.estimators.fitting import CannotTrain, Recipe, Table, fit, unseeded, weight_name
from millstream.estimators.trial import apart, depends_on_company, face_of
from millstream.stream.batch import BatchModel
from millstream.stream.load import LoadedStream
from model_store.errors import StoreError
from model_store.estimators import dumps_estimator, loads_estimator
from producers.rows import SourceError
from schemas.events import Features

_ASKED: Final = 200
_SHOWN: Final = 5
_CAP_BYTES: Final = 1 << 32


def look_at_batch(loaded: LoadedStream, own: LoadedStream, count: int, place: str | None) -> Iterator[Finding]:
    """Yield findings on a batch model.

    Parameters
    ----------
    loaded
        The stream, with the batch model as its model.
    own
        The stream with its own model, by which the sample is made.
    count, place
        Number of sample events, and where they come from: see `check`.
    """
    model = loaded.stream.model
    assert isinstance(model, BatchModel)  # noqa: S101 - the caller has looked
    for missing in missing_extras(model):
        yield Finding("error", "extras", missing)
    estimator = loaded.fresh_model()
    if estimator is loaded.fresh_model():
        yield Finding(
            "error", "builds", "make returns the same object each time: build it inside, as in lambda: Model()"
        )
        return
    yield from _seeds(estimator, model.seed)
    yield from _weight(loaded, estimator)
    wrong = [*_search(model, estimator), *_score(model)]
    yield from wrong
    if any(each.severity == "error" for each in wrong):
        return
    try:
        found = sample(own, count, place)
    except SourceError:
        return  # said of the stream's own model
    contract = loaded.stream.seen
    several, labels = (
        [contract.apply(each.features) for each in found.examples],
        [each.label for each in found.examples],
    )
    try:
        yield from list(_fitted(loaded, model, several, labels))
    except (CannotTrain, GraphDiffers, ModelError, TypeError, ValueError, OverflowError) as error:
        text = f"on {found.origin}, {error}"
        if found.made_up:
            yield Finding(
                "warning", "events", f"{text}: `millstream check {loaded.path.name} --from FILE` tries real rows"
            )
        else:
            yield Finding("error", "events", text)


def _seeds(estimator: Any, seed: int) -> Iterator[Finding]:
    if parts := unseeded(estimator):
        yield Finding(
            "warning",
            "seeds",
            f"no seed: {', '.join(parts)}. A job gives them the seed={seed} of BatchModel; random_state= sets another",
        )


def _weight(loaded: LoadedStream, estimator: Any) -> Iterator[Finding]:
    if loaded.stream.weight is None:
        return
    if weight_name(estimator) is None:
        kind = type(estimator).__name__
        yield Finding("error", "weight", f"weight= is given, and {kind}.fit takes no sample_weight: it would be lost")
    else:
        yield Finding("ok", "weight", f"the weights of examples are given to fit as {weight_name(estimator)}")


def _search(model: BatchModel, estimator: Any) -> Iterator[Finding]:
    known = estimator.get_params(deep=True)
    unknown = [name for name in model.search if name not in known]
    if unknown:
        names = ", ".join(map(repr, unknown[:_SHOWN]))
        like = sorted(
            name for name in known if name.rpartition("__")[2] in {each.rpartition("__")[2] for each in unknown}
        )
        hint = f"; it has {', '.join(like[:_SHOWN])}" if like else ""
        yield Finding("error", "search", f"search= names {names}, which the estimator does not have{hint}")
    elif model.search:
        yield Finding("ok", "search", f"search over {', '.join(model.search)}")


def _score(model: BatchModel) -> Iterator[Finding]:
    from sklearn.metrics import get_scorer_names

    if model.score is not None and model.score not in get_scorer_names():
        yield Finding(
            "error",
            "search",
            f"score={model.score!r} is no scorer of scikit-learn, such as 'roc_auc' or 'neg_log_loss'",
        )


def _fitted(
    loaded: LoadedStream, model: BatchModel, several: Sequence[Features], labels: Sequence[Any]
) -> Iterator[Finding]:
    stream = loaded.stream
    found, classes = class_array(labels, stream.task)
    form = form_of(stream, several, classes)
    table = Table(form.matrix(several), found, np.ones(len(several)))
    recipe = Recipe(model.make, {}, model.seed)
    first, asked = fit(recipe.new(), table), several[:_ASKED]
    face_of(first, stream.task, form)
    try:
        data = dumps_estimator(first)
        loaded_again = loads_estimator(data, cap_bytes=_CAP_BYTES)
    except StoreError as error:
        yield Finding("error", "saves", str(error))
        return
    if apart(first, loaded_again, stream.task, form, asked) > 0.0:
        yield Finding("error", "saves", "saved and loaded, the estimator does not answer as before")
        return
    yield Finding(
        "ok", "saves", f"fitted on {len(several)} events, saved ({len(data):,} bytes) and loaded: the same answers"
    )
    difference = apart(first, fit(recipe.new(), table), stream.task, form, asked)
    if difference:
        yield Finding(
            "warning",
            "builds",
            f"two fits with the same seed differ by up to {difference:.3g}: `models verify` allows for that, as the "
            "manifest of a version says it",
        )
    else:
        yield Finding("ok", "builds", "two fits answer the same to the last bit")
    answering = first
    if model.onnx and not [*missing_extras(model)]:
        try:
            graph, answering = tested_graph(loaded_again, stream.task, form, asked)
        except GraphDiffers:
            raise
        except (CannotConvert, StoreError) as error:
            yield Finding("error", "onnx", f"onnx=True: {error}")
            return
        yield Finding(
            "ok", "onnx", f"converted to a graph ({len(graph):,} bytes): the same answers within {MOST_APART}"
        )
    if depends_on_company(answering, stream.task, form, asked):
        yield Finding(
            "warning",
            "predicts",
            "in its last bit an answer depends on the other events in the call: a job finds that out, and such a model "
            "is asked for one event at a time, which is slower",
        )
    else:
        yield Finding("ok", "predicts", "an answer does not depend on the other events in the call")
