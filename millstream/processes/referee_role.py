"""Wiring of the referee: its rule from the stream file, the decisions of others, and the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumers.loop.last_offsets_file import TopicMemory
from consumers.referee.referee import Referee, RefereeSettings
from consumers.referee.serving import ServingDecisions
from consumers.roles import REFEREE
from millstream.observability.role_log import say
from millstream.processes.role_loop import drive, following, meet, state_alerts
from millstream.stream.promotion_rule import promotion_rule
from runtime.exits import FAILED, TRY_AGAIN

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.observability.instrumentation import RoleInstrumentation
    from millstream.stream.load import LoadedStream


def run_referee(
    loaded: LoadedStream,
    settings: Settings,
    instance: str,
    new_epoch: bool = False,
    *,
    meter: RoleInstrumentation | None = None,
) -> int:
    """Decide which model serves until told to stop; return the exit code."""
    rule = promotion_rule(loaded.stream)
    if rule is None:
        say(f"{loaded.path.name}: no rule promotes a model; promote=Promote(...) in the stream file is one")
        return FAILED
    cluster, names, _ = meet(loaded, settings)
    serving = ServingDecisions(names.stream)
    kept = state_alerts(cluster, names, REFEREE, instance)
    memory = TopicMemory(settings.state(names) / f"{REFEREE}-{instance}.json", written=kept.written)
    referee = Referee(RefereeSettings(names, rule, new_epoch), serving, say=say, memory=memory)
    with following(cluster, names, serving.follow) as current:
        return drive(cluster, names, REFEREE, instance, referee, meter, kept) if current else TRY_AGAIN
