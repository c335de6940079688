"""Targets of alerts, as the notifier knows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Target:
    """One target; see `millstream.Webhook` and `millstream.Alertmanager`. Nothing secret is shown by `repr`.

    Attributes
    ----------
    url
        The full address that is posted to.
    key
        Key of the signature, `None` to sign nothing.
    token
        Bearer token, `None` for none.
    everything
        True if it gets every alert of the stream, not only those that name it.
    body
        The user's function from an alert to what is posted as JSON.
    problem
        Why nothing can be delivered, such as a missing environment variable; `None` if it can.
    unset
        True if that is a missing environment variable, which another machine may have.
    """

    name: str
    kind: Literal["webhook", "alertmanager"]
    url: str = field(repr=False)
    key: bytes | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    everything: bool = False
    body: Callable[[Mapping[str, Any]], Any] | None = None
    problem: str | None = None
    unset: bool = False
