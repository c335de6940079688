"""Example stream: put your own stream file here, and name it in kustomization.yaml and settings.env."""

from river import linear_model, preprocessing

from millstream import Stream

stream = Stream(
    name="fraud",
    task="binary",
    model=lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    label="is_fraud",
)
