"""Targets of alerts from the stream file, with their addresses and secrets from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from consumers.notifier.messages import InvalidSecret, key_of
from consumers.notifier.target import Target
from millstream.stream.notify import Alertmanager, Webhook, why_no_url

_ALERTMANAGER_PATH: Final = "/api/v2/alerts"


class _Unusable(Exception):  # noqa: N818
    """Nothing can be delivered to a target; the message says why, without a secret."""


class Unset(_Unusable):
    """An environment variable is missing."""


def target_of(target: Webhook | Alertmanager, environment: Mapping[str, str]) -> Target:
    """Return a target with its address and its secrets; what is wrong with them is its `problem`."""
    everything = target.alerts == "all"
    try:
        url = _url(target, environment)
        if isinstance(target, Alertmanager):
            token = _token(target, environment)
            return Target(target.name, "alertmanager", url.rstrip("/") + _ALERTMANAGER_PATH, None, token, everything)
        return Target(target.name, "webhook", url, _key(target, environment), None, everything, target.body)
    except _Unusable as error:
        unset, why = isinstance(error, Unset), str(error)
        return Target(target.name, "webhook", "", everything=everything, problem=why, unset=unset)


def _url(target: Webhook | Alertmanager, environment: Mapping[str, str]) -> str:
    if target.url_env is None:
        return str(target.url)
    url = _variable(environment, target.url_env)
    if (why := why_no_url(url)) is not None:
        raise _Unusable(f"the address in the environment variable {target.url_env} {why}")
    return url


def _key(target: Webhook, environment: Mapping[str, str]) -> bytes | None:
    if target.secret_env is None:
        return None
    try:
        return key_of(_variable(environment, target.secret_env))
    except InvalidSecret as error:
        raise _Unusable(f"the secret in the environment variable {target.secret_env} {error}") from error


def _token(target: Alertmanager, environment: Mapping[str, str]) -> str | None:
    if target.token_env is None:
        return None
    token = _variable(environment, target.token_env)
    if not token.isascii() or not token.isprintable():
        raise _Unusable(f"the environment variable {target.token_env} holds no token")
    return token


def _variable(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "").strip()
    if not value:
        raise Unset(f"the environment variable {name} is not set")
    return value
