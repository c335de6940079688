"""A model and what it has learned: state, versions in files, checkpoints, evaluation, baselines, fingerprint."""
