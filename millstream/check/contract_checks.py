"""Checks for contradictions in a stream file: impossible features, and keys that exclude each other."""

from __future__ import annotations

import math
from collections.abc import Iterator

from millstream.check.findings import Finding
from millstream.stream.stream import Stream
from producers.rows import SourceSpec
from schemas.contract import Contract, ContractError, Feature
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
    yield from _target(stream)
    yield from _two_meanings(stream)
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


def look_at_limits(stream: Stream) -> Iterator[Finding]:
    """Yield features whose limits exclude every value, and a limit on features that every event exceeds."""
    contract = stream.contract
    for name, feature in contract.features.items():
        why = _no_value(feature)
        if why is not None:
            yield Finding("error", "contract", f"feature {name!r}: {why}, so no value is accepted")
    if len(contract.features) > contract.max_features:
        text = f"features= names {len(contract.features)} features, and max_features={contract.max_features}"
        yield Finding("error", "contract", f"{text}: an event that has all of them would be refused")


def _no_value(feature: Feature) -> str | None:
    """Return why no value can be valid for a feature; `None` if one can."""
    low, high = feature.minimum, feature.maximum
    if low is not None and high is not None:
        if low > high:
            return f"minimum={low!r} is more than maximum={high!r}"
        if feature.type == "integer" and math.ceil(low) > math.floor(high):
            return f"no whole number lies between minimum={low!r} and maximum={high!r}"
    if not feature.categories:
        return None
    for each in feature.categories:
        try:
            Contract(features={"x": feature}).apply({"x": each})
        except ContractError:
            continue
        return None
    return f"categories={feature.categories!r} are no values of type={feature.type!r} within its limits"


def _target(stream: Stream) -> Iterator[Finding]:
    """Yield keys on classes that the task has no use for, and class sets that leave nothing to learn."""
    if stream.task == "regression":
        given = [name for name in ("positive", "classes") if getattr(stream, name) is not None]
        if given:
            said = " and ".join(f"{name}=" for name in given)
            text = f"{said} {'has' if len(given) == 1 else 'have'} no meaning with task='regression'"
            yield Finding("error", "label", f"{text}: its labels are numbers. Take it out, or choose another task")
    elif stream.classes is not None and len(stream.classes) == 1:
        text = f"classes={tuple(stream.classes)!r} has one class: any other label is refused; nothing can be learned"
        yield Finding("error", "label", text)
    elif stream.task == "binary" and stream.classes is not None and len(stream.classes) > 2 and not stream.positive:
        text = f"task='binary' with {len(stream.classes)} classes: positive= must say which one is True"
        yield Finding("error", "label", text)


def _two_meanings(stream: Stream) -> Iterator[Finding]:
    """Yield columns of files that two keys name."""
    if stream.features_source is not None:
        return
    ids = (stream.id,) if isinstance(stream.id, str) else tuple(stream.id or ())
    meanings: dict[str, list[str]] = {}
    for argument, column in (("label", stream.label), *(("id", each) for each in ids), ("time", stream.time)):
        if column is not None:
            meanings.setdefault(column, []).append(argument)
    for column, arguments in meanings.items():
        if "label" in arguments and len(arguments) > 1:
            said = " and ".join(f"{each}={column!r}" for each in arguments)
            yield Finding("error", "label", f"{said} name one column of files: a label is not known when the event is")


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
