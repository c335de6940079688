"""The stream that the fault tests run: small, quick, with every version kept so that each can be looked at."""

from river import compose, linear_model, preprocessing

from millstream import Stream
from model_store import Retention
from schemas.contract import Feature

stream = Stream(
    name="flow",
    task="binary",
    model=lambda: compose.Select("x", "y") | preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    label="label",
    id="id",
    features={"x": Feature(type="number", minimum=-100, maximum=100), "y": "number"},
    unknown="keep",
    missing="refuse",
    label_wait="1h",
    checkpoint_every="300ms",
    retention=Retention(last=100_000),
    partitions=3,
)
