"""Where a model version lives: signed manifests, data objects, restricted loading, retention."""
