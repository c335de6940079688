"""Training of batch models, in a process of its own: from a range of the log to a version's files."""
