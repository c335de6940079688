"""Arguments for the producers: opens data as a stream's events, and reads weights and label delays."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from millstream.stream.duration import milliseconds
from producers.file_formats import RowSource, SourceSpec, open_source
from schemas.events import Features, Scalar
from schemas.label_spelling import ByClass

if TYPE_CHECKING:
    from millstream.stream.stream import Stream


def source_of(stream: Stream, place: str, *, labelled: bool | None = None) -> RowSource:
    """Return the rows of a file or ``river:NAME`` as events of `stream`.

    Parameters
    ----------
    labelled
        True if the label's column is required; by default it is, unless the stream learns without labels.

    Raises
    ------
    SourceError
        If the data cannot be read.
    """
    return open_source(place, spec_of(stream, stream.learn_from == "labels" if labelled is None else labelled))


def spec_of(stream: Stream, labelled: bool) -> SourceSpec:
    """Return what the columns of a stream's data mean; `labelled` if the label's column is required."""
    return SourceSpec(
        target=stream.target,
        label=stream.label,
        id=stream.id,
        time=stream.time,
        contract=stream.contract,
        label_required=labelled,
        prepare=stream.prepare,
    )


def weigher(stream: Stream) -> Callable[[Features, Scalar], float] | None:
    """Return the stream's weight as a function of features and label, `None` if all weights are 1."""
    weight = stream.weight
    if weight is None or callable(weight):
        return weight
    by_class = ByClass(weight)
    return lambda _, label: by_class.of(label)


def label_delay(given: str) -> tuple[int, float | None]:
    """Return a label's delay as (events, seconds): a whole number means events, a duration seconds.

    >>> label_delay("50"), label_delay("30m")
    ((50, None), (0, 1800.0))

    Raises
    ------
    InvalidDuration
        If the text is neither.
    """
    if given.strip().isdigit():
        return int(given), None
    return 0, milliseconds(given) / 1000
