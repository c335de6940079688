"""A stream's windows against their reference, with what of it the monitor has not read yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from consumers.loop.decisions_log import DecisionsLog
from millstream.evaluation.drift.collect import Collected, collect, stored_windows
from millstream.monitoring.reference import fixed_reference
from millstream.monitoring.reference_pass import ReferencePass, pass_of, shown_pass
from millstream.stream.metric_readers import metric_readers
from millstream.stream.monitor_rules import drift_rules
from model_store.value_key import value_key

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.stream.load import LoadedStream
    from model_store import ModelStore
    from schemas.profiles import Window


def compared(
    loaded: LoadedStream, settings: Settings, store: ModelStore, since_ms: int | None, show: Callable[[int, int], None]
) -> Collected:
    """Judge the windows of a stream, and compare those from `since_ms` on (by default the newest) with the reference.

    Parameters
    ----------
    show
        Given how many of how many records of the reference are read, if there are any without windows.

    Raises
    ------
    NoReference, NoWindows
        If there is nothing to compare, or nothing to compare it with.
    """
    stream, cluster, names = loaded.stream, settings.cluster(), settings.names(loaded.stream)
    fixed = fixed_reference(stream.watch, loaded.model_id, store, cluster, names)
    rules = drift_rules(stream, fixed)
    if fixed is None:
        return collect(stored_windows(cluster, names, str(loaded.path)), rules, stream.name, since_ms)
    told: list[str] = []

    def reference(made: ReferencePass) -> Iterator[Sequence[Window]]:
        """Yield the windows of the reference, and of the time before: those that are there, then those of the log."""
        held: dict[str, int] = {}

        def early(topic: str, start: int) -> bool:
            if start < fixed.until_ms:
                return True
            held[topic] = min(held.get(topic, start), start)
            return False

        for window in stored_windows(cluster, names, str(loaded.path), early):
            held[window.topic] = min(held.get(window.topic, window.first_time), window.first_time)
            yield [window]
        parts = made.missing(held) if held else []
        told.extend(part.told for part in parts if part.told)
        yield from shown_pass(made, parts, show)

    later = stored_windows(cluster, names, str(loaded.path), lambda topic, start: start >= fixed.until_ms)
    metrics = metric_readers(stream, names, settings.schema_registry())
    with closing(DecisionsLog(cluster, names)) as log:
        made = pass_of(stream, cluster, names, log, metrics, fixed, value_key(settings.keys, stream.name))
        return collect(later, rules, stream.name, since_ms, reference(made), told)
