"""Targets that alerts are delivered to, in a stream file: `Webhook` and `Alertmanager`."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from millstream.stream.errors import InvalidStream
from millstream.stream.parameter_checks import check_choices, known_parameters

MOST_TARGETS: Final = 16
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
_VARIABLE: Final = re.compile(r"(?!whsec_)[A-Za-z_][A-Za-z0-9_]*")

Delivered: TypeAlias = Literal["named", "all"]
Body: TypeAlias = Callable[[Mapping[str, Any]], Any]


@known_parameters(unnamed=("name",))
@dataclass(frozen=True, kw_only=True)
class Webhook:
    """An address that alerts are posted to as JSON, signed as the Standard Webhooks specification says.

    Parameters
    ----------
    name
        What `Notify` calls it: 1 to 31 of a-z, 0-9 and '-'.
    url, url_env
        The address, http or https, or the environment variable that holds it, for an address that is itself a secret.
        Only this address is called: redirects are not followed.
    secret_env
        Environment variable with the secret that signs: ``whsec_`` and base64, or any text. Without it nothing is
        signed.
    alerts
        ``named``: the alerts of rules that name it with `Notify`. ``all``: also the alerts of the roles.
    body
        ``function(alert) -> object``: the JSON to post in place of the default. `alert` is a dictionary with stream,
        name, severity, state, message, at, and details.

    Examples
    --------
    >>> Webhook("ops", url="https://example.com/hooks/millstream", secret_env="OPS_SECRET").name
    'ops'
    """

    name: str = field(kw_only=False)
    url: str | None = None
    url_env: str | None = None
    secret_env: str | None = None
    alerts: Delivered = "named"
    body: Body | None = None

    def __post_init__(self) -> None:
        _check_target(self)
        _check_variable(self, "secret_env")
        if self.body is not None and not callable(self.body):
            raise InvalidStream(f"Webhook: body={self.body!r:.60} must be a function that returns what to post")


@known_parameters(unnamed=("name",))
@dataclass(frozen=True, kw_only=True)
class Alertmanager:
    """A Prometheus Alertmanager: it gets each alert when it is raised, again while it stays so, and when it clears.

    Parameters
    ----------
    name
        What `Notify` calls it.
    url, url_env
        Its address, without ``/api/v2/alerts``, or the environment variable that holds it.
    token_env
        Environment variable with a bearer token.
    alerts
        As of `Webhook`.

    Examples
    --------
    >>> Alertmanager("pager", url="http://alertmanager:9093").alerts
    'named'
    """

    name: str = field(kw_only=False)
    url: str | None = None
    url_env: str | None = None
    token_env: str | None = None
    alerts: Delivered = "named"

    def __post_init__(self) -> None:
        _check_target(self)
        _check_variable(self, "token_env")


Target: TypeAlias = Webhook | Alertmanager


def why_no_url(text: object) -> str | None:
    """Return why a text is not an address that can be posted to; `None` if it is one. The text is not in it.

    >>> why_no_url("ftp://example.com")
    'must begin with http:// or https://'
    """
    if (
        not isinstance(text, str)
        or not text.isascii()
        or any(each.isspace() or not each.isprintable() for each in text)
    ):
        return "must be an address of ASCII characters without spaces"
    try:
        parts = urllib.parse.urlsplit(text)
        port = parts.port
    except ValueError:
        return "is not an address"
    if parts.scheme not in ("http", "https"):
        return "must begin with http:// or https://"
    if not parts.hostname or port == 0:
        return "names no host" if not parts.hostname else "has no valid port"
    if parts.username is not None or parts.password is not None:
        return "must not hold a user or a password"
    return "must not have a #fragment" if parts.fragment else None


def check_targets(targets: Sequence[Target]) -> None:
    """Raise InvalidStream unless these are targets, each with its own name."""
    if isinstance(targets, (str, Mapping)) or not isinstance(targets, Sequence):
        raise InvalidStream(f"Stream: notify={targets!r:.60} must be a list, such as [Webhook('ops', url='https://…')]")
    if len(targets) > MOST_TARGETS:
        raise InvalidStream(f"Stream: notify= has {len(targets)}; at most {MOST_TARGETS} are notified")
    names: set[str] = set()
    for target in targets:
        if not isinstance(target, (Webhook, Alertmanager)):
            raise InvalidStream(f"Stream: notify={target!r:.60} must be Webhook(...) or Alertmanager(...)")
        if target.name in names:
            raise InvalidStream(f"Stream: notify= has two targets {target.name!r}: name each differently")
        names.add(target.name)


def _check_target(target: Target) -> None:
    kind = type(target).__name__
    if not isinstance(target.name, str) or not _NAME.fullmatch(target.name):
        raise InvalidStream(
            f"{kind}: name={target.name!r:.60} must be 1 to 31 of a-z, 0-9 and '-', not beginning with '-'"
        )
    if (target.url is None) == (target.url_env is None):
        raise InvalidStream(f"{kind}: {target.name} needs url= or url_env=, and not both")
    if target.url is not None and (why := why_no_url(target.url)) is not None:
        raise InvalidStream(f"{kind}: url= of {target.name} {why}")
    _check_variable(target, "url_env")
    check_choices(target, {"alerts": ("named", "all")})


def _check_variable(target: Target, name: str) -> None:
    value = getattr(target, name)
    if value is not None and (not isinstance(value, str) or not _VARIABLE.fullmatch(value)):
        # It may be the secret itself: it is not shown.
        raise InvalidStream(
            f"{type(target).__name__}: {name}= of {target.name} must name an environment variable, such as 'OPS_SECRET'"
        )
