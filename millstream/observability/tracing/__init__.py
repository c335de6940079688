"""Traces of events: from the event through prediction and label to the version that learned it."""
