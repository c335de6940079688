"""Two models on the points of `bananas`: a line serves first, and a rule promotes a curve.

No line separates the two clusters, so that the model of the stream itself is right as often as a coin. The challenger
``curve`` has the polynomials of degree 4 that the stream `bananas` has. `millstream demo --challenger` shows it.
"""

from river import feature_extraction, linear_model, optim, preprocessing

from millstream import Labels, Model, Promote, Stream

SOURCE = "river:Bananas"

stream = Stream(
    name="bananas-models",
    task="binary",
    model=lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(0.05)),
    models={
        "curve": Model(
            lambda: (
                preprocessing.StandardScaler()
                | feature_extraction.PolynomialExtender(degree=4)
                | ("rescale", preprocessing.StandardScaler())
                | linear_model.LogisticRegression(optim.SGD(0.05))
            )
        )
    },
    promote=Promote(loss="brier", at_least=0.01, labels=500, settle="1s"),
    slices={"left": "1 < 0", "low": "2 < 0"},
    label="is_banana",
    features={"1": "number", "2": "number"},
    labels=Labels(wait="1h"),
)
