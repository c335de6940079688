"""Settings of the monitor from a stream: end of a window, its contents, and how it is judged."""

from __future__ import annotations

from functools import partial
from itertools import chain
from typing import Any, Final

from consumers.monitor.drift.detecting import served_error
from consumers.monitor.drift.rules import ERROR, Between, DriftRules, Merging, Trailing
from consumers.monitor.profiles import WindowProfiles, merge
from consumers.monitor.served import DecidedBy, ServedRules, ServedSums
from consumers.monitor.windows import WindowRules
from millstream.stream.duration import InvalidDuration, milliseconds
from millstream.stream.slices import SliceReader
from millstream.stream.stream import Stream
from millstream.stream.watching import Watch

_DELTA: Final = 1e-5
"""Level of ADWIN on the error: below its own default, for windows are not independent."""


def window_rules(stream: Stream, decided: DecidedBy | None = None, key: bytes = b"") -> WindowRules:
    """Return the rules of a stream's windows.

    Parameters
    ----------
    decided
        Knows the decisions in force at any time.
    key
        Secret of the hashes of private values; without one, private features have counts alone.
    """
    watch = stream.watch
    declared, private = [*stream.contract.features], stream.contract.private
    slices = SliceReader(stream.slices)
    served = ServedRules(stream.target, watch.window_ms, slices, decided)
    return WindowRules(
        watch.window_ms,
        watch.window_events,
        lambda: WindowProfiles(watch.most_features, watch.pairs, declared=declared, private=private, hash_key=key),
        lambda state: ServedSums(served, state),
    )


def drift_rules(stream: Stream, between: Between | None = None) -> DriftRules:
    """Return the rules by which a stream's windows are judged.

    `between` is the reference's range of time if the stream file names a version or an epoch.
    """
    watch = stream.watch
    length = reference_ms(watch)
    between = between or fixed_range(watch)
    reference = between or (Trailing() if length is None else Trailing(length))
    detectors = {ERROR: _adwin} if watch.detectors is None else dict(watch.detectors)
    return DriftRules(
        watch.window_ms, watch.alarms_per_ms, reference, detectors, served_error(stream.target.task), _merging(stream)
    )


def _merging(stream: Stream) -> Merging:
    """Return what merges windows, with the features that `window_rules` gives to each."""
    first = [*stream.contract.features, *chain.from_iterable(stream.watch.pairs or ())]
    return partial(merge, most_features=stream.watch.most_features, declared=first)


def fixed_range(watch: Watch) -> Between | None:
    """Return the reference if it is a range of time, otherwise `None`."""
    return None if watch.times is None else Between(*watch.times)


def _adwin() -> Any:
    """Return ADWIN for the error of served answers, which is compared with every earlier stretch after every window."""
    from river.drift import ADWIN

    return ADWIN(delta=_DELTA, clock=1)


def reference_ms(watch: Watch) -> int | None:
    """Return the length of a trailing reference; `None` if it is a version, an epoch or a range of time."""
    try:
        return milliseconds(watch.reference)
    except InvalidDuration:
        return None
