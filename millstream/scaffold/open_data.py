"""From a stream and what was asked for to what the producers are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from millstream.stream.duration import milliseconds
from producers.open_source import RowSource, SourceSpec, open_source
from schemas.events import Features, Scalar
from schemas.label_spelling import ByClass

if TYPE_CHECKING:
    from millstream.stream.stream import Stream


def source_of(stream: Stream, place: str, *, labelled: bool | None = None) -> RowSource:
    """Return the rows of a file or ``river:NAME`` as events of `stream`.

    Parameters
    ----------
    labelled
        Whether the label's column must be there; by default it must unless the stream learns without.

    Raises
    ------
    SourceError
        Where it cannot be read.
    """
    spec = SourceSpec(
        target=stream.target,
        label=stream.label,
        id=stream.id,
        time=stream.time,
        contract=stream.contract,
        label_required=stream.learn_from == "labels" if labelled is None else labelled,
    )
    return open_source(place, spec)


def weigher(stream: Stream) -> Callable[[Features, Scalar], float] | None:
    """Return the stream's weight as a function of features and label, or None where all weigh 1."""
    weight = stream.weight
    if weight is None or callable(weight):
        return weight
    by_class = ByClass(weight)
    return lambda _, label: by_class.of(label)


def label_delay(given: str) -> tuple[int, float | None]:
    """Return a label's delay as (events, seconds): a whole number is events, a span of time is that.

    >>> label_delay("50"), label_delay("30m")
    ((50, None), (0, 1800.0))

    Raises
    ------
    InvalidDuration
        Where it is neither.
    """
    if given.strip().isdigit():
        return int(given), None
    return 0, milliseconds(given) / 1000
