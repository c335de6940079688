"""Writer of the part of a stream file that names its external topics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from millstream.scaffold.infer_topics import FoundTopics, LabelTopic
from producers.columns import Column

_WIDTH: Final = 88
_MOST_LEFT_OUT: Final = 20
_FORMS: Final = {
    "auto": "messages of several forms are there: told apart one by one",
    "json": "avro: single objects; registry: framed by a schema registry; auto: told apart",
    "avro": "single objects; registry: framed by a schema registry; auto: told apart",
    "registry": "framed by a schema registry: set MILLSTREAM_REGISTRY_URL",
}
Quote = Callable[[str], str]


def events_lines(
    found: FoundTopics, kind_of: Callable[[Column], str], seen: Callable[[Column], str], quoted: Quote
) -> Iterator[str]:
    """Yield ``features=Source(...)``.

    Parameters
    ----------
    kind_of
        Returns a column's entry in the contract, as Python.
    seen
        Returns the values that were seen in the column, as text.
    """
    yield "    features=Source("
    yield f"        topic={quoted(found.topic)},"
    yield f"        format={quoted(found.format)},  # {_FORMS[found.format]}"
    if found.id is None:
        yield "        # id=...: without a path of it, an event is named topic-partition-offset."
    else:
        without, again = found.id_lacks
        if without or again:
            yield f"        # Of the newest {found.inferred.rows} messages, {without} lack it and {again} came again."
        yield f"        id={quoted(found.id)},  # names an event"
    if found.time is None:
        yield "        # time=...: without a path of it, the broker's time of the message."
    else:
        yield f"        time={quoted(found.time)},"
    yield from _fields(found, quoted)
    yield "        # The features; other values never reach the model. To refuse invalid ones:"
    yield "        # Feature(type=..., minimum=..., maximum=..., categories=(...))"
    yield "        contract={"
    for column in found.inferred.columns:
        line = f"            {quoted(column.name)}: {kind_of(column)},"
        comment = f"  # {seen(column)}"
        yield line + comment if seen(column) and len(line + comment) <= _WIDTH else line
    yield "        },"
    yield "    ),"


def _fields(found: FoundTopics, quoted: Quote) -> Iterator[str]:
    for path, why in list(found.left_out.items())[:_MOST_LEFT_OUT]:
        comment = f"        # Left out: {quoted(path)} ({why})"
        yield comment if len(comment) <= _WIDTH else comment[: _WIDTH - 1] + "…"
    if len(found.left_out) > _MOST_LEFT_OUT:
        yield f"        # … and {len(found.left_out) - _MOST_LEFT_OUT} more"
    yield "        # Features by name, and their paths in a message."
    yield "        fields={"
    yield from (f"            {quoted(each.name)}: {quoted(each.name)}," for each in found.inferred.columns)
    yield "        },"


def label_source_lines(labels: LabelTopic, quoted: Quote) -> Iterator[str]:
    """Yield ``sources=Source(...)``, as it stands in ``labels=Labels(...)``."""
    yield "        sources=Source("
    yield f"            topic={quoted(labels.topic)},"
    yield f"            format={quoted(labels.format)},"
    shared, total = labels.matched
    if shared:
        yield f"            # {shared} of the newest {total} labels are of events that were looked at."
    else:
        yield "            # Check this: none of the newest labels is of an event that was looked at."
    yield f"            id={quoted(labels.id)},"
    if labels.only is not None:
        yield "            # Nothing else was seen there. If an event without a label is the other"
        yield "            # case: on_timeout=False above learns it so once the wait is over."
    yield f"            value={quoted(labels.value)},"
    if labels.time is not None:
        yield f"            time={quoted(labels.time)},"
    yield "        ),"
