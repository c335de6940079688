"""Which readings of a space shuttle's sensors are out of the ordinary? 49,097 readings, 7 % of them are.

The data comes with River. The model learns from every event and needs no label; the labels only say how
good the scores are: a ROC AUC of 0.958.
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
