"""Options of the schema registry, from MILLSTREAM_REGISTRY_<NAME> or ``[registry]`` of the file."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from millstream.config.errors import SettingsError

if TYPE_CHECKING:
    from schemas.schema_registry import Registry

PREFIX: Final = "MILLSTREAM_REGISTRY_"
_FILE: Final = "millstream.toml"
_NAMES: Final = ("url", "user", "password", "password_file", "ca", "timeout", "auto_register")
_TRUTH: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def registry_options(file: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return the registry's settings; a password set in the environment replaces any kind of password in the file.

    >>> registry_options({"registry": {"url": "http://a"}}, {"MILLSTREAM_REGISTRY_URL": "http://b"})
    {'url': 'http://b'}

    Raises
    ------
    SettingsError
        If a name is not one of: url, user, password, password_file, ca, timeout, auto_register.
    """
    table = file.get("registry", {})
    if not isinstance(table, Mapping):
        raise SettingsError(f"[registry] of {_FILE} must be a table with url and, where asked for, user and password")
    from_file = {name.replace("-", "_").lower(): value for name, value in table.items()}
    from_environment = {
        name.removeprefix(PREFIX).lower(): value for name, value in environ.items() if name.startswith(PREFIX) and value
    }
    for name in (*from_file, *from_environment):
        if name not in _NAMES:
            near = difflib.get_close_matches(name, _NAMES, n=1)
            raise SettingsError(f"{_where(name)} is no setting{f'; did you mean {near[0]}?' if near else ''}")
    if {"password", "password_file"} & set(from_environment):
        from_file = {name: value for name, value in from_file.items() if not name.startswith("password")}
    return from_file | from_environment


def registry_environment(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment variables that give a child process the same settings."""
    return {
        PREFIX + name.upper(): ",".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in options.items()
    }


def open_registry(options: Mapping[str, Any], say: Callable[[str], None] = print) -> Registry | None:
    """Return the registry that the settings name, if any; no request is sent yet.

    Raises
    ------
    SettingsError
        If a setting is invalid, or a file it names cannot be read.
    """
    if not options.get("url"):
        if options:
            raise SettingsError(
                f"{_where(next(iter(options)))} has no effect without the registry's address: set {_where('url')} too"
            )
        return None
    from schemas.schema_registry import Registry, RegistryError, RegistrySettings

    settings = RegistrySettings(
        urls=_urls(options["url"]),
        user=_text(options, "user"),
        password=_password(options),
        ca=_text(options, "ca"),
        timeout_s=_timeout(options.get("timeout", 5)),
        auto_register=_truth(options.get("auto_register", False)),
    )
    if settings.password is not None and settings.user is None:
        raise SettingsError(f"{_where('password')} is set without a user: set {_where('user')} too")
    try:
        return Registry(settings, say)
    except RegistryError as error:
        raise SettingsError(str(error)) from error


def _where(name: str) -> str:
    return f"{PREFIX}{name.upper()} (or {name} under [registry] in {_FILE})"


def _urls(given: Any) -> tuple[str, ...]:
    from schemas.schema_registry import check_url

    urls = [given] if isinstance(given, str) else given
    if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
        raise SettingsError(f"{_where('url')} must be an address, or several with commas")
    found = tuple(part.strip() for url in urls for part in url.split(",") if part.strip())
    for url in found:
        wrong = check_url(url)
        if wrong is not None:
            raise SettingsError(f"{_where('url')}: {wrong}")
    return found


def _text(options: Mapping[str, Any], name: str) -> str | None:
    value = options.get(name)
    if value is not None and not isinstance(value, str):
        raise SettingsError(f"{_where(name)} must be text")
    return value


def _password(options: Mapping[str, Any]) -> str | None:
    file = _text(options, "password_file")
    if file is None:
        return _text(options, "password")
    if "password" in options:
        raise SettingsError(f"{_where('password')} and {_where('password_file')} are both set; leave one out")
    try:
        return Path(file).expanduser().read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SettingsError(f"{_where('password_file')}: {file} cannot be read: {reason}") from None


def _timeout(given: Any) -> float:
    try:
        seconds = float(given)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 < seconds <= 60:
        raise SettingsError(f"{_where('timeout')} must be a number of seconds, over 0 and at most 60")
    return seconds


def _truth(given: Any) -> bool:
    found = given if isinstance(given, bool) else _TRUTH.get(str(given).lower())
    if found is None:
        raise SettingsError(f"{_where('auto_register')} must be true or false")
    return found
