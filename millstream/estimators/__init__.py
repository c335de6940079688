"""Estimators of scikit-learn: how one is made and fitted, and what a trial finds out about it."""
