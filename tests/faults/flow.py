"""The stream that the fault tests run: small, quick, with every version kept so that each can be looked at."""

from river import compose, linear_model, preprocessing

from millstream import Checkpoints, Feature, Join, Labels, Retention, Stream, Validation

stream = Stream(
    name="flow",
    task="binary",
    model=lambda: compose.Select("x", "y") | preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    label="label",
    id="id",
    features={"x": Feature(type="number", minimum=-100, maximum=100), "y": "number"},
    validation=Validation(unknown="keep", missing="refuse"),
    labels=Labels(wait="1h"),
    checkpoints=Checkpoints(every="300ms", keep=Retention(last=100_000)),
    partitions=3,
    join=Join(),
)
