"""Error of the embedded broker."""

from __future__ import annotations


class BrokerError(Exception):
    """The embedded broker cannot do what was requested; the message names the obstacle and the solution."""
