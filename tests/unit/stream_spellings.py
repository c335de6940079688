"""Streams as they were spelled when `Stream` had flat parameters, and as they are now: each pair is one stream."""

from __future__ import annotations

from typing import Final, NamedTuple

HEAD: Final = """
import functools
from river import anomaly, compose, linear_model, metrics, preprocessing
"""


class Spelled(NamedTuple):
    """One stream file in both spellings."""

    old: str
    new: str


EVERY_PARAMETER: Final = Spelled(
    HEAD
    + """
from millstream import Feature, Retention, Source, Stream
stream = Stream(
    name="all",
    task="binary",
    model=lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(l2=0.1),
    label="is_fraud",
    id=("shop", "order"),
    time="at",
    label_wait="30d",
    on_timeout="good",
    weight={True: 20.0},
    features={"amount": Feature(minimum=0, bounds="off"), "country": "string"},
    labels=[Source(topic="chargebacks", id="ref", value="status"), Source(topic="refunds", id="ref", value="kind")],
    unknown="refuse",
    missing="none",
    bounds="dead-letter",
    max_features=2000,
    positive="fraud",
    classes=("good", "fraud"),
    metrics=metrics.Accuracy,
    window=500,
    dedup_window="7d",
    checkpoint_every="10s",
    checkpoint_examples=1000,
    retention=Retention(last=5),
    partitions=3,
    max_pending=1000,
    snapshot_every="1m",
    max_model_bytes=1_000_000,
    predictions_format="json",
    predictions_features=False,
    predictions_cloudevents="/shop/fraud",
)
""",
    HEAD
    + """
from millstream import (
    Checkpoints, Evaluation, Feature, Join, Labels, Predictions, Retention, Source, Stream, Validation
)
stream = Stream(
    name="all",
    task="binary",
    model=lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(l2=0.1),
    label="is_fraud",
    id=("shop", "order"),
    time="at",
    positive="fraud",
    classes=("good", "fraud"),
    weight={True: 20.0},
    features={"amount": Feature(minimum=0, bounds="off"), "country": "string"},
    partitions=3,
    labels=Labels(
        wait="30d",
        on_timeout="good",
        sources=[
            Source(topic="chargebacks", id="ref", value="status"),
            Source(topic="refunds", id="ref", value="kind"),
        ],
    ),
    validation=Validation(unknown="refuse", missing="none", bounds="dead-letter", max_features=2000),
    evaluation=Evaluation(metrics=metrics.Accuracy, window=500),
    checkpoints=Checkpoints(every="10s", examples=1000, keep=Retention(last=5), max_bytes=1_000_000),
    predictions=Predictions(format="json", features=False, cloudevents="/shop/fraud"),
    join=Join(dedup_window="7d", max_pending=1000, snapshot_every="1m"),
)
""",
)
# The model's code has strings that are names of the import below it, so that the import belongs to its definition.
_OWN_CODE: Final = """
LIMIT = 0.5
NAMES = {"b", "a", "Feature", "Source", "wait", "labels", "keep"}
def clip(x, top=3.0):
    return {key: min(value, top) for key, value in x.items() if key not in NAMES and LIMIT}
class Scaler(preprocessing.StandardScaler):
    def learn_one(self, x):
        super().learn_one(x)
def more(features, label):
    return LIMIT if label else 1.0
"""
_OWN_STREAM: Final = """
stream = Stream(name="own", task="binary", label="y", weight=more,
    model=lambda: compose.FuncTransformer(functools.partial(clip, top=2.0)) | Scaler() | linear_model.Perceptron(),
    features={"a": "number", "b": Feature(required=True)}, %s)
"""
ODD: Final[dict[str, Spelled]] = {
    "every parameter": EVERY_PARAMETER,
    "anomaly": Spelled(
        HEAD
        + """
from millstream import Stream
stream = Stream(name="odd", task="anomaly", model=lambda: anomaly.HalfSpaceTrees(seed=3), learn_from="events",
    window=50, checkpoint_every=2, labels=())
""",
        HEAD
        + """
from millstream import Checkpoints, Evaluation, Stream
stream = Stream(name="odd", task="anomaly", model=lambda: anomaly.HalfSpaceTrees(seed=3), learn_from="events",
    evaluation=Evaluation(window=50), checkpoints=Checkpoints(every=2))
""",
    ),
    "own code": Spelled(
        HEAD
        + "from millstream import Feature, Stream\n"
        + _OWN_CODE
        + _OWN_STREAM % 'label_wait=3600.0, on_timeout=False, missing="none"',
        HEAD
        + "from millstream import Feature, Labels, Stream, Validation\n"
        + _OWN_CODE
        + _OWN_STREAM % 'labels=Labels(wait=3600.0, on_timeout=False), validation=Validation(missing="none")',
    ),
    "one topic of events and labels": Spelled(
        HEAD
        + """
from millstream import Constant, Source, Stream
stream = Stream(name="odd", task="binary", model=linear_model.LogisticRegression,
    features=Source(topic="payments", id="payment.id", fields={"amount": "payment.amount", "via": Constant("web")},
        contract={"amount": "number"}),
    labels=Source(topic="payments", id="ref", value="status == 'fraud'"), unknown="keep")
""",
        HEAD
        + """
from millstream import Constant, Labels, Source, Stream, Validation
stream = Stream(name="odd", task="binary", model=linear_model.LogisticRegression,
    features=Source(topic="payments", id="payment.id", fields={"amount": "payment.amount", "via": Constant("web")},
        contract={"amount": "number"}),
    labels=Labels(sources=Source(topic="payments", id="ref", value="status == 'fraud'")),
    validation=Validation(unknown="keep"))
""",
    ),
    "attributes of the module": Spelled(
        HEAD
        + """
import millstream as ms
fraud = ms.Stream(name="odd", task="regression", model=lambda: linear_model.LinearRegression(),
    retention=ms.Retention(last=3), bounds="off", max_features=1000)
""",
        HEAD
        + """
import millstream as ms
fraud = ms.Stream(name="odd", task="regression", model=lambda: linear_model.LinearRegression(),
    checkpoints=ms.Checkpoints(keep=ms.Retention(last=3)), validation=ms.Validation(bounds="off", max_features=1000))
""",
    ),
}
