"""Choices of `init` from topics, with their reasons, in the form that `producers.infer` has for files."""

from __future__ import annotations

from collections.abc import Iterator

from millstream.scaffold.infer_topics import FoundTopics
from producers.columns import Choice
from producers.infer import NONE
from producers.label_guess import why_task


def topic_choices(found: FoundTopics, **given: str | None) -> Iterator[Choice]:
    """Yield what was taken for label, task, id and time, and why.

    Parameters
    ----------
    given
        The options of `init` that name a ``label``, ``task``, ``id`` or ``time``, by their names.
    """
    labels, task = found.labels, found.inferred.task
    if labels is not None:
        why = "--label" if given["label"] else "named like a label, or the last path with few values"
        yield Choice("label", labels.value, why, labels.counts.text)
        shared, total = labels.matched
        yield Choice("label's id", labels.id, f"{shared:,} of the newest {total:,} labels are of events looked at")
    why = "no topic of labels is given" if labels is None else why_task(labels.counts, task)
    yield Choice("task", task, "--task" if given["task"] else why)
    why = "named like an id, with hardly any value twice" if found.id else "no path has a name and values like an id's"
    yield Choice("id", found.id or NONE, "--id" if given["id"] else why)
    why = "nearly all messages have a time there" if found.time else "no path holds times"
    yield Choice("time", found.time or NONE, f"--time {given['time']}" if given["time"] else why)
