"""A stream for the fault tests whose challenger is so much better that the rule promotes it after some 100 labels."""

from river import dummy, linear_model, preprocessing

from millstream import Checkpoints, Labels, Model, Promote, Retention, Stream

stream = Stream(
    name="promoted",
    task="binary",
    model=dummy.PriorClassifier,
    models={"line": Model(lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression())},
    label="label",
    id="id",
    features={"x": "number", "y": "number"},
    promote=Promote(loss="error", labels=100, settle="1s"),
    labels=Labels(wait="1h"),
    checkpoints=Checkpoints(every="300ms", keep=Retention(last=100_000)),
    partitions=3,
)
