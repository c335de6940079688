"""Predict whether the price of electricity rises in New South Wales: 45,312 half hours, 1996 to 1998.

The data is the well-known Elec2 file with a header (period, nswprice, nswdemand, vicprice, vicdemand,
transfer, class), which does not come with River: name it with ``--file``. The ROC AUC is 0.916 and the
accuracy 85.1 %. The baseline "as half an hour ago" is right 85.3 % of the time if the label comes at once, and 63.6 %
if it comes a day late: only the real delay shows the value of a model.
"""

from river import linear_model, optim, preprocessing

from millstream import Stream

stream = Stream(
    name="elec2",
    task="binary",
    model=lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(0.1)),
    label="class",
    features={
        "period": "number",
        "nswprice": "number",
        "nswdemand": "number",
        "vicprice": "number",
        "vicdemand": "number",
        "transfer": "number",
    },
)
