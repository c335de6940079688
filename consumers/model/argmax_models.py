"""Models whose decision is provably the class of the largest share, so that one question answers both."""

from __future__ import annotations

from typing import Any

from river import base, compose
from river.imblearn.hard_sampling import HardSampling, HardSamplingClassifier
from river.imblearn.random import ClassificationSampler


def decides_by_share(model: Any) -> bool:
    """Tell whether `predict_one` is nothing but the first largest of `predict_proba_one`.

    River's own `Classifier.predict_one` is, whoever inherits it: it calls the object's `predict_proba_one`. A pipeline
    leaves both to its last step, and a sampler to the classifier inside it. Of all others both are asked: a threshold,
    a vote or an estimator of scikit-learn decides for itself.
    """
    while True:
        kind = type(model)
        if "predict_one" in getattr(model, "__dict__", ()):
            return False
        one, shares = getattr(kind, "predict_one", None), getattr(kind, "predict_proba_one", None)
        if one is base.Classifier.predict_one:
            return True
        if (one, shares) == (compose.Pipeline.predict_one, compose.Pipeline.predict_proba_one) and len(model):
            model = model._last_step
        elif (one, shares) in _BOTH_PASSED_ON:
            model = model._wrapped_model
        else:
            return False


_BOTH_PASSED_ON = (
    (ClassificationSampler.predict_one, ClassificationSampler.predict_proba_one),
    (HardSampling.predict_one, HardSamplingClassifier.predict_proba_one),
)
