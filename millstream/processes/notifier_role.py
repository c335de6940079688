"""Wiring of the notifier: targets from the stream file, secrets from the environment, the loop."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from consumers.loop.last_offsets_file import TopicMemory
from consumers.notifier.notifier import Notifier, NotifierSettings
from consumers.roles import NOTIFIER
from millstream.observability.role_log import say
from millstream.processes.role_loop import drive, meet, state_alerts
from millstream.stream.notified_targets import target_of
from runtime.exits import FAILED

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.observability.instrumentation import RoleInstrumentation
    from millstream.stream.load import LoadedStream


def run_notifier(
    loaded: LoadedStream,
    settings: Settings,
    instance: str,
    new_epoch: bool = False,
    *,
    meter: RoleInstrumentation | None = None,
) -> int:
    """Deliver alerts until told to stop; return the exit code."""
    if not loaded.stream.notify:
        say(f"{loaded.path.name}: it delivers no alerts; notify=[Webhook(...)] in the stream file is a target")
        return FAILED
    cluster, names, _ = meet(loaded, settings)
    kept = state_alerts(cluster, names, NOTIFIER, instance)
    memory = TopicMemory(settings.state(names) / f"{NOTIFIER}-{instance}.json", written=kept.written)
    targets = [target_of(each, os.environ) for each in loaded.stream.notify]
    for target in targets:
        if target.problem is not None:
            say(f"nothing can be delivered to {target.name}: {target.problem}")
    notifier = Notifier(NotifierSettings(names, targets, new_epoch), say=say, memory=memory)
    return drive(cluster, names, NOTIFIER, instance, notifier, meter, kept)
