"""Checks of alert rules and of the targets of alerts, as `millstream check` reports them."""

from __future__ import annotations

import os
from collections.abc import Iterator

from millstream.check.findings import Finding
from millstream.stream.alert_rules import Notify, Rollback
from millstream.stream.notified_targets import target_of
from millstream.stream.stream import Stream


def look_at_alerts(stream: Stream) -> Iterator[Finding]:
    """Yield targets that nothing can be delivered to, and those that no rule names."""
    named = {each.target for rule in stream.alerts for each in rule.do if isinstance(each, Notify)}
    for target in stream.notify:
        found = target_of(target, os.environ)
        if found.problem is not None:
            text = f"notify={target.name!r}: {found.problem}; a notifier that runs like this delivers nothing to it"
            yield Finding("warning" if found.unset else "error", "alerts", text)
        if target.alerts == "named" and target.name not in named:
            text = f"notify={target.name!r}: no rule names it; add do=[Notify({target.name!r})], or alerts='all'"
            yield Finding("warning", "alerts", text)
    for rule in stream.alerts:
        if any(isinstance(each, Rollback) for each in rule.do) and stream.checkpoints.keep.latest_only:
            days = stream.kept_versions.for_rollback
            text = f"{rule.alert} may roll back, so a version of each of {days} days stays in spite of latest_only"
            yield Finding("ok", "alerts", text)
