"""Checks of alert rules and of the targets of alerts, as `millstream check` reports them."""

from __future__ import annotations

import os
from collections.abc import Iterator

from millstream.check.findings import Finding
from millstream.processes.notifier_targets import target_of
from millstream.stream.alert_rules import Notify, Rollback
from millstream.stream.stream import Stream


def look_at_alerts(stream: Stream) -> Iterator[Finding]:
    """Yield targets that nothing can be delivered to, and those that no rule names."""
    named = {each.target for rule in stream.alerts for each in rule.do if isinstance(each, Notify)}
    for target in stream.notify:
        problem = target_of(target, os.environ).problem
        if problem is not None:
            text = f"notify={target.name!r}: {problem}"
            yield Finding(
                "error", "alerts", f"{text}; nothing can be delivered to it where the notifier runs like this"
            )
        if target.alerts == "named" and target.name not in named:
            text = f"notify={target.name!r}: no rule names it; add do=[Notify({target.name!r})], or alerts='all'"
            yield Finding("warning", "alerts", text)
    for rule in stream.alerts:
        if any(isinstance(each, Rollback) for each in rule.do) and stream.checkpoints.keep.latest_only:
            days = stream.kept_versions.for_rollback
            text = f"{rule.alert} may roll back, so a version of each of {days} days stays in spite of latest_only"
            yield Finding("ok", "alerts", text)
