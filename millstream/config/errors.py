"""Errors of settings, and the names of settings that the messages show."""

from __future__ import annotations

from typing import Final

CONFIG_FILE: Final = "millstream.toml"
KAFKA_PREFIX: Final = "MILLSTREAM_KAFKA_"


class SettingsError(Exception):
    """A setting has an invalid value; the message names the setting, its origin and the valid values."""
