"""Profiles of windows: from columns of values to `Profile` and `Pairs`, and merging of windows."""

from consumers.monitor.profiles.distinct import distinct
from consumers.monitor.profiles.merging import merge, merged_numbers
from consumers.monitor.profiles.pairs import correlations
from consumers.monitor.profiles.quantiles import quantiles, share_up_to
from consumers.monitor.profiles.window_profiles import Value, WindowProfiles

__all__ = ["Value", "WindowProfiles", "correlations", "distinct", "merge", "merged_numbers", "quantiles", "share_up_to"]
