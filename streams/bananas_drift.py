"""The points of `bananas`, watched: an alarm about changed inputs pauses learning.

`millstream demo --drift` sends its data with a feature that changes halfway, as a sensor that was put back wrongly.
Its windows are a second long, because the demo is short; `Watch()` alone has windows of five minutes. The rules are
about the features alone, not `Rule("drift")`: in the first seconds the model still learns, and its answers change.
"""

from river import feature_extraction, linear_model, optim, preprocessing

from millstream import Labels, Pause, Rule, Stream, Watch

SOURCE = "river:Bananas"

stream = Stream(
    name="bananas-drift",
    task="binary",
    model=lambda: (
        preprocessing.StandardScaler()
        | feature_extraction.PolynomialExtender(degree=4)
        | ("rescale", preprocessing.StandardScaler())
        | linear_model.LogisticRegression(optim.SGD(0.05))
    ),
    label="is_banana",
    features={"1": "number", "2": "number"},
    labels=Labels(wait="1h"),
    watch=Watch(window="1s", reference="30s", false_alarms="1 per 6h"),
    alerts=[Rule("drift(1)", do=[Pause()]), Rule("drift(2)", do=[Pause()])],
)
