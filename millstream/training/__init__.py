"""Training of batch models: from a range of the log to the files of a version, in a process of its own."""
