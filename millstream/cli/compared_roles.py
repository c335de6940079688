"""`millstream shadow`, `judge` and `referee`: roles that compare models and choose among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cyclopts

from consumers.roles import JUDGE, REFEREE, SHADOW
from millstream.cli.monitoring import UNWATCHED, Monitoring
from millstream.cli.roles import FromHere, Instance, run_role
from millstream.cli.shared_options import HERE, CodePolicy, StreamFileName, Where

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.observability.instrumentation import RoleInstrumentation
    from millstream.stream.load import LoadedStream


def register(parent: cyclopts.App) -> None:
    """Add these commands."""
    parent.command(shadow)
    parent.command(judge)
    parent.command(referee)


def shadow(
    stream: StreamFileName,
    /,
    *,
    instance: Instance = None,
    new_epoch: FromHere = None,
    code: CodePolicy = "own",
    where: Where = HERE,
    monitoring: Monitoring = UNWATCHED,
) -> int:
    """Ask the models that do not serve what they would have answered, until stopped. Any number may run.

    Example: millstream shadow my_stream.py
    """

    def work(loaded: LoadedStream, settings: Settings, name: str, meter: RoleInstrumentation) -> int:
        from millstream.processes.compared_roles import run_shadow

        return run_shadow(loaded, settings, name, new_epoch is not None, meter=meter, code=code)

    return run_role(SHADOW, stream, instance, where, monitoring, work)


def judge(
    stream: StreamFileName,
    /,
    *,
    instance: Instance = None,
    new_epoch: FromHere = None,
    where: Where = HERE,
    monitoring: Monitoring = UNWATCHED,
) -> int:
    """Join shadow answers with their labels and write comparisons of the models, until stopped.

    Example: millstream judge my_stream.py
    """

    def work(loaded: LoadedStream, settings: Settings, name: str, meter: RoleInstrumentation) -> int:
        from millstream.processes.compared_roles import run_judge

        return run_judge(loaded, settings, name, new_epoch is not None, meter=meter)

    return run_role(JUDGE, stream, instance, where, monitoring, work)


def referee(
    stream: StreamFileName,
    /,
    *,
    instance: Instance = None,
    new_epoch: FromHere = None,
    where: Where = HERE,
    monitoring: Monitoring = UNWATCHED,
) -> int:
    """Decide by the stream's rule (`promote=Promote(...)`) which model serves, until stopped.

    Example: millstream referee my_stream.py
    """

    def work(loaded: LoadedStream, settings: Settings, name: str, meter: RoleInstrumentation) -> int:
        from millstream.processes.referee_role import run_referee

        return run_referee(loaded, settings, name, new_epoch is not None, meter=meter)

    return run_role(REFEREE, stream, instance, where, monitoring, work)
