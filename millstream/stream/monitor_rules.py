"""What the monitor needs of a stream: when its windows close, and what is collected in them."""

from __future__ import annotations

from consumers.monitor.drift.rules import DriftRules, Trailing
from consumers.monitor.profiles import WindowProfiles
from consumers.monitor.served import ServedRules, ServedSums
from consumers.monitor.windows import WindowRules
from millstream.stream.duration import InvalidDuration, milliseconds
from millstream.stream.slices import SliceReader
from millstream.stream.stream import Stream
from millstream.stream.watching import Watch


def window_rules(stream: Stream) -> WindowRules:
    """Return the rules of a stream's windows."""
    watch = stream.watch
    declared, private, key = [*stream.contract.features], stream.contract.private, stream.name.encode()
    slices = SliceReader(stream.slices)
    served = ServedRules(stream.target, watch.window_ms, slices)
    return WindowRules(
        watch.window_ms,
        watch.window_events,
        lambda: WindowProfiles(watch.most_features, watch.pairs, declared=declared, private=private, hash_key=key),
        lambda state: ServedSums(served, state),
    )


def drift_rules(stream: Stream) -> DriftRules:
    """Return the rules by which a stream's windows are judged."""
    watch = stream.watch
    span = reference_ms(watch)
    return DriftRules(watch.window_ms, watch.alarms_per_ms, Trailing() if span is None else Trailing(span))


def reference_ms(watch: Watch) -> int | None:
    """Return the length of a trailing reference; `None` if it is a version, an epoch or a range of time."""
    try:
        return milliseconds(watch.reference)
    except InvalidDuration:
        return None
