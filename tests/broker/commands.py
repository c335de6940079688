"""The command line as a test calls it, in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Run = Callable[..., tuple[int, Any, str]]
"""Runs a command; returns exit code, what its JSON says, and its errors."""
