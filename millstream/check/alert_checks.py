"""Checks of alert rules and of the targets of alerts, as `millstream check` reports them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from urllib.parse import urlsplit

from millstream.check.findings import Finding
from millstream.stream.alert_rules import Notify, Rollback
from millstream.stream.notified_targets import target_of
from millstream.stream.notify import Alertmanager, Webhook
from millstream.stream.stream import Stream


def look_at_alerts(stream: Stream) -> Iterator[Finding]:
    """Yield targets that nothing can be delivered to, that no rule names, or that others could read or forge."""
    named = {each.target for rule in stream.alerts for each in rule.do if isinstance(each, Notify)}
    for target in stream.notify:
        found = target_of(target, os.environ)
        if found.problem is not None:
            text = f"notify={target.name!r}: {found.problem}; a notifier that runs like this delivers nothing to it"
            yield Finding("warning" if found.unset else "error", "alerts", text)
        if target.alerts == "named" and target.name not in named:
            text = f"notify={target.name!r}: no rule names it; add do=[Notify({target.name!r})], or alerts='all'"
            yield Finding("warning", "alerts", text)
        for risk in _risks(target, found.url):
            yield Finding("warning", "alerts", f"notify={target.name!r}: {risk}")
    for rule in stream.alerts:
        if any(isinstance(each, Rollback) for each in rule.do) and stream.checkpoints.keep.latest_only:
            days = stream.kept_versions.for_rollback
            text = f"{rule.alert} may roll back, so a version of each of {days} days stays in spite of latest_only"
            yield Finding("ok", "alerts", text)


def _risks(target: Webhook | Alertmanager, url: str) -> Iterator[str]:
    """Yield what others could read or forge, without the address, which may be a secret.

    An Alertmanager is usually asked without TLS, in the network of the cluster: there only its token counts.
    """
    address = urlsplit(url)
    plain = address.scheme == "http" and not _is_this_machine(address.hostname or "")
    if isinstance(target, Alertmanager):
        if plain and target.token_env is not None:
            yield "its address is http://, so its token can be read on the way; use https://"
        return
    if plain:
        yield "its address is http://, so alerts can be read on the way; use https://"
    if target.secret_env is None and target.url_env is None:
        yield "nothing is signed, so anyone can forge an alert; add secret_env=, or url_env= if the address is a secret"


def _is_this_machine(host: str) -> bool:
    return host == "localhost" or host.startswith("127.") or host == "::1"
