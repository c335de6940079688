"""Models whose decision is provably the class with the largest share: one call answers both."""

from __future__ import annotations

from typing import Any

from river import base, compose
from river.imblearn.hard_sampling import HardSampling, HardSamplingClassifier
from river.imblearn.random import ClassificationSampler


def decides_by_share(model: Any) -> bool:
    """Return whether `predict_one` always returns the first class with the largest share of `predict_proba_one`.

    That holds for River's own `Classifier.predict_one` and classes that inherit it, because it calls the object's
    `predict_proba_one`. A pipeline delegates both calls to its last step, and a sampler to the classifier inside it.
    For all other models both methods are called: a threshold, a vote or a scikit-learn estimator decides by its own
    rule.
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
