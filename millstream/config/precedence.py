"""Precedence of settings: a flag over the environment, the environment over `millstream.toml`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final

import cyclopts

from millstream.config.errors import CONFIG_FILE, KAFKA_PREFIX, SettingsError

PREFIX: Final = "MILLSTREAM_"


def under_the_flags(file: Mapping[str, Any], path: str) -> tuple[Callable[..., Any], ...]:
    """Return where options come from that no flag gives, the first that has one: environment, command's table, file."""
    return (
        cyclopts.config.Env(PREFIX, command=False),
        cyclopts.config.Dict(dict(file), source=path, allow_unknown=True),
        cyclopts.config.Dict(dict(file), source=path, allow_unknown=True, use_commands_as_keys=False),
    )


def kafka_options(file: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return the client's options as given: MILLSTREAM_KAFKA_<OPTION> takes precedence over ``[kafka]`` of the file.

    >>> kafka_options({"kafka": {"client_id": "a"}}, {"MILLSTREAM_KAFKA_CLIENT_ID": "b"})
    {'client_id': 'b'}
    """
    table = file.get("kafka", {})
    if not isinstance(table, Mapping):
        raise SettingsError(f"[kafka] of {CONFIG_FILE} must be a table of the client's options")
    from_file = {name.replace("-", "_").lower(): value for name, value in table.items()}
    from_environment = {
        name.removeprefix(KAFKA_PREFIX).lower(): value
        for name, value in environ.items()
        if name.startswith(KAFKA_PREFIX)
    }
    return from_file | from_environment
