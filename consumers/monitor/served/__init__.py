"""Metrics of served answers, as sums from which a value over any stretch of windows follows."""

from consumers.monitor.served.decided import DecidedBy
from consumers.monitor.served.merging import merge_served
from consumers.monitor.served.sums import ServedRules, ServedSums
from consumers.monitor.served.values import Value, values

__all__ = ["DecidedBy", "ServedRules", "ServedSums", "Value", "merge_served", "values"]
