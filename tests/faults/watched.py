"""A stream with short windows for the fault tests of the monitor."""

from river import linear_model, preprocessing

from millstream import Checkpoints, Labels, Retention, Stream, Watch

stream = Stream(
    name="watched",
    task="binary",
    model=lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    label="label",
    id="id",
    features={"x": "number", "y": "number"},
    labels=Labels(wait="1h"),
    checkpoints=Checkpoints(every="300ms", keep=Retention(last=100_000)),
    partitions=3,
    watch=Watch(window="1s", window_events=50, reference="1h"),
)
