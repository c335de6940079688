"""`millstream init` and `check`: a stream file, begun and tried."""

from __future__ import annotations

import cyclopts


def register(parent: cyclopts.App) -> None:
    """Add these commands."""
