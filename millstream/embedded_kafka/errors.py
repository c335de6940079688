"""The one error of the embedded broker."""

from __future__ import annotations


class BrokerError(Exception):
    """The embedded broker cannot do what was asked; the message names what stands in the way, and the way out."""
