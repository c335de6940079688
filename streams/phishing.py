"""Phishing: does this web page try to steal passwords? 1,250 pages, 9 features, 44 % of them phishing."""

from river import linear_model, preprocessing

from millstream import Stream

SOURCE = "river:Phishing"

stream = Stream(
    name="phishing",
    task="binary",
    model=lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    label="is_phishing",
)
