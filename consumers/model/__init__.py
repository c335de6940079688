"""Learning state of a model: checkpoints, evaluation, baselines, fingerprint, edits of its history."""
