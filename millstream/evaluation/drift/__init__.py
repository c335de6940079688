"""Drift of a stream as a report: the reference against now, with what alarms and since when."""
