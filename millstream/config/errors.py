"""Errors of settings, and the names that those errors tell users."""

from __future__ import annotations

from typing import Final

CONFIG_FILE: Final = "millstream.toml"
KAFKA_PREFIX: Final = "MILLSTREAM_KAFKA_"


class SettingsError(Exception):
    """A setting cannot be what it is; the message names it, where it came from, and what it may be."""
