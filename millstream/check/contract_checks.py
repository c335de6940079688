"""Checks for contradictions in a stream file: features of the contract that no event can have."""

from __future__ import annotations

from collections.abc import Iterator

from millstream.check.findings import Finding
from millstream.stream.stream import Stream
from producers.rows import SourceSpec
from schemas.sources.paths import parts
from schemas.sources.source import Source


def look_at_contract(stream: Stream, place: str | None = None) -> Iterator[Finding]:
    """Yield the features of the contract that another setting removes from events, or never provides.

    It is an error if the feature is required, because every event would be refused.

    Parameters
    ----------
    place
        The file that the stream is tried with.
    """
    if stream.calendar is not None and stream.time is None and place is not None:
        yield Finding(
            "warning",
            "calendar",
            f"{stream.calendar} has no time of the events of {place}: name their column with time=. `millstream "
            "publish` would take the time of publishing, and `millstream import` refuses the file",
        )
    source = stream.features_source
    taken = _taken_by_columns(stream) if source is None else _taken_by_paths(source)
    for name, feature in stream.contract.features.items():
        why = taken.get(name)
        if why is None and source is not None and source.fields and name not in source.fields:
            why = f"features={name!r} is none of the names in fields="
        if why is None:
            continue
        if feature.required:
            text = f"{why}, and required=True wants it in every event: all would be refused"
            yield Finding("error", "contract", f"{text}. {_WAY_OUT}")
        else:
            yield Finding("warning", "contract", f"{why}, so no event has this feature. {_WAY_OUT}")


_WAY_OUT = "Take it out of features=, or give the feature a name or a column of its own"


def _taken_by_columns(stream: Stream) -> dict[str, str]:
    """Return the columns of files that are not features because they have another meaning."""
    named = SourceSpec(label=stream.label, id=stream.id, time=stream.time).named
    arguments = {"the id": "id", "the time": "time", "the label": "label"}
    return {
        column: f"{arguments[meaning]}={column!r} takes this column of files out of the features"
        for column, meaning in named.items()
    }


def _taken_by_paths(source: Source) -> dict[str, str]:
    """Return the paths of id and time, which are not features if all other fields are."""
    if source.fields or source.prepare is not None:
        return {}
    taken = {".".join(map(str, parts(text))): f"id={text!r}" for text in source.ids}
    if source.time is not None:
        taken[".".join(map(str, parts(source.time)))] = f"time={source.time!r}"
    return {name: f"{said} takes this path out of the features" for name, said in taken.items()}
