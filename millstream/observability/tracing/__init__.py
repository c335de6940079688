"""Traces: one for each event, through its prediction and label to the first version that has learned it."""
