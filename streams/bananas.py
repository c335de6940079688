"""Classify points of two banana-shaped clusters: 5,300 points, no line separates them.

The data comes with River. The ROC AUC is 0.922; without the polynomial of degree 4 it would be 0.538.
"""

from river import feature_extraction, linear_model, optim, preprocessing

from millstream import Stream

SOURCE = "river:Bananas"

stream = Stream(
    name="bananas",
    task="binary",
    model=lambda: (
        preprocessing.StandardScaler()
        | feature_extraction.PolynomialExtender(degree=4)
        | ("rescale", preprocessing.StandardScaler())
        | linear_model.LogisticRegression(optim.SGD(0.05))
    ),
    label="is_banana",
    features={"1": "number", "2": "number"},
)
