"""Any River classifier, regressor or anomaly detector works in the loop, and is measured as River measures it."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from raw_kafka import raw_admin
from river import (
    anomaly,
    datasets,
    evaluate,
    feature_extraction,
    forest,
    linear_model,
    metrics,
    naive_bayes,
    neighbors,
    preprocessing,
    tree,
)
from whole_loop import WholeLoop, whole_loop

from millstream import Labels, Stream
from runtime.kafka_client.kafka_python.consumer import metadata_of

EVENTS = 300


def scaled(model: Any) -> Any:
    return preprocessing.StandardScaler() | model


MODELS: dict[str, tuple[str, Callable[[], Any], Any]] = {
    "logistic-regression": ("binary", lambda: scaled(linear_model.LogisticRegression()), datasets.Phishing()),
    "gaussian-nb": ("binary", naive_bayes.GaussianNB, datasets.Phishing()),
    "adaptive-tree": ("binary", lambda: tree.HoeffdingAdaptiveTreeClassifier(seed=1), datasets.Bananas()),
    "forest": ("binary", lambda: forest.ARFClassifier(n_models=3, seed=1), datasets.Phishing()),
    "neighbours": ("multiclass", lambda: scaled(neighbors.KNNClassifier(engine=neighbors.LazySearch())), None),
    "segments": ("multiclass", lambda: scaled(linear_model.SoftmaxRegression()), datasets.ImageSegments()),
    "regression": ("regression", lambda: scaled(linear_model.LinearRegression()), datasets.TrumpApproval()),
}


def rows(dataset: Any, most: int = EVENTS) -> list[tuple[dict[str, Any], Any]]:
    # TrumpApproval's dates are numbers already; features of other types do not travel.
    return list(islice(dataset or datasets.ImageSegments(), most))


def play(loop: WholeLoop, data: list[tuple[dict[str, Any], Any]], delay: int = 20) -> None:
    """Send events, each label `delay` events after its features are answered."""
    for number, (features, _) in enumerate(data):
        loop.event(f"e{number}", features)
        if number >= delay:
            loop.label(f"e{number - delay}", data[number - delay][1])
    for number in range(max(0, len(data) - delay), len(data)):
        loop.label(f"e{number}", data[number][1])


@pytest.mark.parametrize("name", MODELS)
def test_every_example_is_learned_once_and_measured_as_by_river(
    name: str, bootstrap: str, prefix: str, tmp_path: Path
) -> None:
    task, model, dataset = MODELS[name]
    stream = Stream(name=name, task=task, model=model)  # type: ignore[arg-type]
    data = rows(dataset)
    with whole_loop(stream, bootstrap, prefix, tmp_path) as loop:
        play(loop, data)
        loop.wait_until(lambda: loop.learned() == len(data), "all learned")
        log, answers = loop.examples(), loop.predictions()
    assert len(answers) == len(data)
    assert sorted(example.event.event_id for example in log) == sorted(f"e{n}" for n in range(len(data)))
    manifest = loop.store.manifest(loop.store.versions(name)[-1])
    told = manifest.metrics["progressive"]["all"]
    fresh = [getattr(metrics, metric)() for metric in told]
    labelled = [(dict(e.event.features), e.label.value) for e in log if e.label]
    evaluate.progressive_val_score(labelled, model(), metrics.base.Metrics(fresh))
    assert told == {type(metric).__name__: metric.get() for metric in fresh}
    assert manifest.metrics["counted"]["served"] + manifest.metrics["no_prediction_yet"]["served"] == len(data)


def test_anomaly_detection_learns_events_without_labels(bootstrap: str, prefix: str, tmp_path: Path) -> None:
    stream = Stream(
        name="spaces",
        task="anomaly",
        model=lambda: preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(seed=1, window_size=50),
        learn_from="events",
    )
    data = rows(datasets.Phishing(), 200)
    with whole_loop(stream, bootstrap, prefix, tmp_path) as loop:
        for number, (features, _) in enumerate(data):
            loop.event(f"e{number}", features)
        loop.wait_until(lambda: loop.learned() == len(data), "all events learned")
        # A label is for measuring, and for nothing else.
        for number in range(100):
            loop.label(f"e{number}", number % 7 == 0)
        loop.wait_until(lambda: len(loop.examples()) == 300, "labels on the log")
        loop.event("one more", data[0][0])
        loop.wait_until(lambda: loop.learned() == len(data) + 1, "one more learned")
    newest = loop.store.manifest(loop.store.versions("spaces")[-1])
    assert newest.extra["counts"] == {"learned": 201, "measured": 100}
    assert newest.metrics["served"]["all"]["ROCAUC"] is not None
    assert all(isinstance(prediction.outcome.prediction, float) for prediction in loop.predictions())


def test_text_is_a_feature(bootstrap: str, prefix: str, tmp_path: Path) -> None:
    stream = Stream(
        name="tickets",
        task="multiclass",
        model=lambda: feature_extraction.BagOfWords(on="text") | naive_bayes.MultinomialNB(),
        features={"text": "string"},
    )
    rng = random.Random(1)
    words = {"billing": ["invoice", "refund", "price"], "outage": ["down", "error", "timeout"]}
    data = []
    for _ in range(120):
        topic = rng.choice(list(words))
        data.append(({"text": " ".join(rng.choices(words[topic], k=4))}, topic))
    with whole_loop(stream, bootstrap, prefix, tmp_path) as loop:
        play(loop, data)
        loop.wait_until(lambda: loop.learned() == len(data), "all learned")
    newest = loop.store.manifest(loop.store.versions("tickets")[-1])
    assert newest.metrics["progressive"]["all"]["Accuracy"] > 0.95


def test_no_click_in_time_is_learned_as_none(bootstrap: str, prefix: str, tmp_path: Path) -> None:
    """5 % positives; no label in three seconds means no click; clicks that come later are counted as late."""
    stream = Stream(
        name="clicks",
        task="binary",
        model=lambda: scaled(linear_model.LogisticRegression()),
        labels=Labels(wait="3s", on_timeout=False),
    )
    rng = random.Random(2)
    clicked = {f"e{number}" for number in range(200) if rng.random() < 0.05}
    assert len(clicked) > 3
    late = set(sorted(clicked)[:2])
    with whole_loop(stream, bootstrap, prefix, tmp_path) as loop:
        for number in range(200):
            loop.event(f"e{number}", {"x": rng.random(), "y": float(f"e{number}" in clicked)})
        for event_id in clicked - late:
            loop.label(event_id, True)
        loop.wait_until(lambda: loop.learned() == 200, "clicks and time-outs learned")
        for event_id in late:
            loop.label(event_id, True)
        loop.wait_until(lambda: _late(loop) == 2, "late clicks counted")
        log = loop.examples()
    values = {example.event.event_id: example.label.value for example in log if example.label}
    assert len(log) == 200
    assert {event_id for event_id, value in values.items() if value} == clicked - late
    sources = {example.label.source for example in log if example.label and not example.label.value}
    assert sources == {"timeout"}


def _late(loop: WholeLoop) -> int:
    import msgspec

    group = loop.names.group("joiner")
    with raw_admin(loop.cluster) as admin:
        places = admin.list_group_offsets(group)[group]
    labels = loop.names.topic("labels")
    told = [msgspec.json.decode(metadata_of(each.metadata)) for at, each in places.items() if at.topic == labels]
    return sum(place["counts"].get("late", 0) for place in told)
