"""A stream with three models for the fault tests; every version is kept, so that each answer can be given again."""

from river import linear_model, naive_bayes, preprocessing, tree

from millstream import Checkpoints, Labels, Model, Retention, Stream

stream = Stream(
    name="compared",
    task="binary",
    model=lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    models={
        "bayes": Model(naive_bayes.GaussianNB, sees=["x"]),
        "tree": Model(lambda: tree.HoeffdingTreeClassifier(grace_period=20)),
    },
    slices={"right": "x > 0", "y": lambda features: features["y"] > 1},
    label="label",
    id="id",
    features={"x": "number", "y": "number"},
    labels=Labels(wait="1h"),
    checkpoints=Checkpoints(every="300ms", keep=Retention(last=100_000)),
    partitions=3,
)
