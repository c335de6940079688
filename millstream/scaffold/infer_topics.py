"""Inference from the topics of events and labels: the id, time, features and label of a stream."""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import product
from typing import Any, Final

from millstream.scaffold.sample_topic import TopicSample
from producers.id_guess import numbers_as_ids
from producers.infer import LABEL_NAMES, NONE, Inferred, columns_of
from producers.label_guess import MOST_CLASSES, Guess, Labels, likely_positive, task_of
from producers.time_guess import TIME_NAMES
from schemas.sources.message_fields import Unmapped, milliseconds
from schemas.sources.paths import parts
from schemas.sources.source import Format
from schemas.target import Task

_ID: Final = ("event_id", "id", "uuid", "guid")
_LIKE_ID: Final = re.compile(r".*(_id|-id|[a-z]Id|ID|uuid|guid|_ref|_key|_number)|ref|reference|key")
_LIKE_TIME: Final = re.compile(r".*(_at|_time|_ts|_date|[a-z](At|Time|Date)|timestamp)")
_VERDICTS: Final = ("status", "result", "verdict", "decision", "state", "type", "value", "fraud", "clicked")
_DAY_AND_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")
_SIMPLE: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_FIRST_MS: Final = 631_152_000_000  # 1990
_LAST_MS: Final = 4_102_444_800_000  # 2100
_NEARLY_ALL: Final = 0.95  # of the messages: on every topic a few lack the value or come from another producer
_NEARLY_UNIQUE: Final = 0.90  # of an id's values: a message that is sent again has the same id
_CLEAN: Final = 0.99
_WORDS: Final = 50  # distinct texts; more of them, all without blanks, are names of things and not categories


class CannotInfer(Exception):  # noqa: N818
    """A named path is missing or has wrong values, or no value of the messages could be an event id."""


@dataclass(frozen=True, kw_only=True)
class LabelTopic:
    """The topic of labels, and the paths in its messages.

    Attributes
    ----------
    value
        The expression for `Source`.
    matched
        The number of the sample's ids that belong to events of the other sample, and the number of messages.
    only
        The label's value if the sample has a single one.
    counts
        The different values with their counts.
    """

    topic: str
    format: Format
    id: str
    value: str
    time: str | None
    matched: tuple[int, int]
    only: Any = None
    counts: Labels = field(default_factory=lambda: Labels({}))


@dataclass(frozen=True, kw_only=True)
class FoundTopics:
    """Result of the inference, for `millstream init --from-topic`.

    Attributes
    ----------
    inferred
        Features, task and classes; the columns are named by their paths.
    id_lacks
        Number of messages without an id, and of messages with an id that another one has too.
    left_out
        Paths that are not features, with the reason.
    """

    topic: str
    format: Format
    id: str | None
    id_lacks: tuple[int, int]
    time: str | None
    inferred: Inferred
    left_out: dict[str, str]
    unreadable: tuple[int, str]
    labels: LabelTopic | None

    def doubts(self) -> list[str]:
        """Return the doubts to check in the file first: with a wrong guess the stream would run but learn nothing."""
        found = []
        if self.id is None:
            found.append(
                f"nothing in the messages of {self.topic} looks like an id of events: without id=, no label finds its "
                "event but one that names it topic-partition-offset"
            )
        if self.labels is not None and not self.labels.matched[0]:
            of, total = self.labels, self.labels.matched[1]
            found.append(
                f"none of the newest {total} labels of {of.topic} ({of.id}) belongs to one of the newest "
                f"{self.inferred.rows} messages of {self.topic}: check both id=, or look again when labels have come"
            )
        return found


def infer_topics(
    events: TopicSample,
    labels: TopicSample | None = None,
    *,
    label: str | None = None,
    id: str | None = None,  # noqa: A002 - the option's name
    time: str | None = None,
    task: Task | None = None,
) -> FoundTopics:
    """Infer the paths of id, time, features and label; given paths are used as they are.

    Parameters
    ----------
    label
        The path of the label on its own topic.
    id, time
        Paths on the topic of events; ``"none"`` as `time` means none.
    task
        The task; by default the labels decide.

    Raises
    ------
    CannotInfer
        If that is impossible.
    """
    _require_path(id, events, events)
    no_time = time == NONE and NONE not in events.paths
    time = None if no_time else time
    _require_path(time, events, events)
    _require_path(label, labels, events)
    if time is not None:
        _require_times(events, time)
    ids = [id] if id is not None else _ids(events)
    found_labels, guess = None, task_of(Labels({}), task or "binary")
    if labels is not None:
        id, found_labels, guess = _labels(events, labels, ids, label, task, guess=id is None)  # noqa: A001
    elif ids:
        id = ids[0]  # noqa: A001
    time = time or (None if no_time else _time(events, {id}))
    inferred, left_out = _inferred(events, id, time, guess)
    return FoundTopics(
        topic=events.topic,
        format=events.format,
        id=id,
        id_lacks=(0, 0) if id is None else _lacks(events.values(id)),
        time=time,
        inferred=inferred,
        left_out=left_out,
        unreadable=events.unreadable,
        labels=found_labels,
    )


def _inferred(events: TopicSample, key: str | None, time: str | None, guess: Guess) -> tuple[Inferred, dict[str, str]]:
    """Return what the events show, and the paths that are no features, with the reason."""
    features, left_out = _features(events, {key, time})
    columns = columns_of(_of_one_kind(events, features))
    left_out |= {column.name: why for column in columns if (why := numbers_as_ids(column)) is not None}
    task, positive, classes = guess
    inferred = Inferred(
        columns=tuple(column for column in columns if column.name not in left_out),
        label=None,
        task=task,
        positive=positive,
        classes=classes,
        id=key,
        time=time,
        empty=(),
        rows=len(events.rows),
    )
    return inferred, left_out


def _of_one_kind(sample: TopicSample, features: list[str]) -> list[dict[str, Any]]:
    """Return the rows without values that differ in kind from most values at their path.

    A contract has one kind for each feature: one text among a thousand numbers must not make it a text.
    """
    kinds = {
        path: Counter(map(_kind, filter(_is_there, sample.values(path)))).most_common(1)[0][0] for path in features
    }
    return [
        {path: row.get(path) if _kind(row.get(path)) == kind else None for path, kind in kinds.items()}
        for row in sample.rows
    ]


def _is_there(value: Any) -> bool:
    return value is not None


def _kind(value: Any) -> str:
    return "number" if type(value) in (int, float) else type(value).__name__


def _last(path: str) -> str:
    return str(parts(path)[-1])


def _ids(sample: TopicSample) -> list[str]:
    """Return the paths with nearly unique values and a name like an id's, the likeliest first."""
    named = {*_ID, f"{sample.topic.rpartition('.')[2].rstrip('s')}_id"}
    found: list[tuple[int, bool, int, int, str]] = []
    for path in sample.paths:
        if not _is_like_id(path) and _last(path).lower() not in named:
            continue
        values = sample.values(path)
        if _is_nearly_unique(values):
            flawed = sum(_lacks(values)) > (1 - _CLEAN) * len(values)
            found.append((_last(path).lower() not in named, flawed, len(parts(path)), len(found), path))
    return [path for *_, path in sorted(found)]


def _is_like_id(path: str) -> bool:
    return _last(path).lower() in _ID or bool(_LIKE_ID.fullmatch(_last(path)))


def _is_nearly_unique(values: Sequence[Any]) -> bool:
    there = list(filter(_names_something, values))
    return _may_name(values) and len(set(there)) >= _NEARLY_UNIQUE * len(there)


def _may_name(values: Sequence[Any]) -> bool:
    """Return whether nearly all messages have a value that could be an event id."""
    return sum(map(_names_something, values)) >= _NEARLY_ALL * len(values)


def _names_something(value: Any) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool) and value != ""


def _lacks(values: Sequence[Any]) -> tuple[int, int]:
    """Return the number of values that cannot be an id, and the number of repeated ones."""
    there = list(filter(_names_something, values))
    return len(values) - len(there), len(there) - len(set(there))


def _time(sample: TopicSample, but: set[str | None]) -> str | None:
    """Return the path of a time that nearly all messages have: by a known name, a similar name, else any."""
    likely = [path for path in sample.paths if path not in but and _is_time(sample, path)]
    likely = [path for path in likely if sum(map(_is_there, sample.values(path))) >= _NEARLY_ALL * len(sample.rows)]
    exact = [path for name in TIME_NAMES for path in likely if _last(path).lower() == name]
    named = [path for path in likely if _LIKE_TIME.fullmatch(_last(path))]
    return next(iter(exact or named or likely), None)


def _is_time(sample: TopicSample, path: str) -> bool:
    """Return whether a path holds times; a number or a day alone, even under ``date``, may mean something else."""
    name = _last(path)
    named = name.lower() in TIME_NAMES or bool(_LIKE_TIME.fullmatch(name))
    values = list(filter(_is_there, sample.values(path)))
    return bool(values) and all(_is_moment(each) and (named or _says_it_is_a_time(each)) for each in values)


def _says_it_is_a_time(value: Any) -> bool:
    return isinstance(value, datetime) or (isinstance(value, str) and bool(_DAY_AND_TIME.match(value)))


def _is_moment(value: Any) -> bool:
    try:
        return not isinstance(value, (bool, list)) and _FIRST_MS < milliseconds(value, "") < _LAST_MS
    except Unmapped:
        return False


def _require_path(path: str | None, where: TopicSample | None, events: TopicSample) -> None:
    """Raise CannotInfer unless a given path is in its sample; without a sample, every given path is refused."""
    if path is not None and (where is None or path not in where.paths):
        read = where or events
        raise CannotInfer(f"no message of {read.topic} has a {path!r}; they have: {', '.join(read.paths)}")


def _require_times(sample: TopicSample, path: str) -> None:
    """Raise CannotInfer unless nearly all values at the given path are times; the stream refuses other messages."""
    there = list(filter(_is_there, sample.values(path)))
    wrong: list[str] = []
    for value in there:
        try:
            milliseconds(value, path)
        except Unmapped as error:
            wrong.append(str(error))
    if not there or len(wrong) > (1 - _NEARLY_ALL) * len(there):
        why = wrong[0] if wrong else "it is null everywhere"
        raise CannotInfer(f"{path!r} holds no times in {len(wrong)} of {len(there)} messages of {sample.topic}: {why}")


def _features(sample: TopicSample, but: set[str | None]) -> tuple[list[str], dict[str, str]]:
    """Return the paths of features, and the paths left out, with the reason."""
    left_out = dict(sample.left_out)
    features = []
    for path in sample.paths:
        values = [each for each in sample.values(path) if each is not None]
        if path in but or not values:
            continue
        if _is_time(sample, path):
            left_out[path] = "a time"
        elif all(isinstance(each, str) for each in values) and _are_names(values):
            left_out[path] = f"{len(set(values))} different texts, which look like names of things"
        elif (
            _LIKE_ID.fullmatch(_last(path)) and all(type(each) is int for each in values) and len(set(values)) > _WORDS
        ):
            left_out[path] = f"{len(set(values))} different numbers, which look like names of things"
        else:
            features.append(path)
    return features, left_out


def _are_names(values: list[str]) -> bool:
    different = set(values)
    few = len(different) <= _WORDS and not (len(different) == len(values) > MOST_CLASSES)
    return not few and not any(" " in each for each in different)


# --- labels ----------------------------------------------------------------------------------------


def _labels(
    events: TopicSample, labels: TopicSample, ids: list[str], label: str | None, given: Task | None, *, guess: bool
) -> tuple[str | None, LabelTopic, Guess]:
    event_id, label_id, matched = _matching(events, labels, ids, label, guess=guess)
    time = _time(labels, {label_id, label})
    value = label or _label(labels, {label_id, time})
    said = [each for each in labels.values(value) if each is not None]
    counts = Labels.of(said)
    task, positive, classes = task_of(counts, given)
    only = said[0] if len(set(map(repr, said))) == 1 else None
    if given is None and only is not None and not isinstance(only, float):
        task, positive, classes = "binary", likely_positive([only]), None
    text = value
    if task == "binary" and positive is not None and _SIMPLE.fullmatch(value) and not _is_keyword(value):
        text, positive, classes = f"{value} == {positive!r}", None, None
    found = LabelTopic(
        topic=labels.topic,
        format=labels.format,
        id=label_id,
        value=text,
        time=time,
        matched=(matched, len(labels.rows)),
        only=only,
        counts=counts,
    )
    return event_id, found, (task, positive, classes)


def _is_keyword(path: str) -> bool:
    return any(keyword.iskeyword(name) for name in path.split("."))


def _matching(
    events: TopicSample, labels: TopicSample, ids: list[str], label: str | None, *, guess: bool
) -> tuple[str | None, str, int]:
    """Return the id's path on events, its path on labels, and the number of labels that match an event."""
    theirs = [path for path in labels.paths if path != label and _may_name(labels.values(path))]
    if not theirs:
        raise CannotInfer(f"no value of the messages of {labels.topic} could name an event: {', '.join(labels.paths)}")
    # A path without an id's name is an id if most labels refer to its values.
    others = [path for path in events.paths if path not in ids and _is_nearly_unique(events.values(path))]
    best: tuple[bool, bool, bool, int] = (False, False, False, 0)
    chosen: tuple[str | None, str] = (ids[0] if ids else None, _likely_id(theirs, ids))
    for mine, other in product((*ids, *(others if guess else ())), theirs):
        shared = len(_texts(events.values(mine)) & _texts(labels.values(other)))
        named, most = _is_like_id(other), 2 * shared >= len(labels.rows)
        if not shared or (mine not in ids and not (named and most)):
            continue
        if (rank := (named, most, mine in ids, shared)) > best:
            best, chosen = rank, (mine, other)
    return *chosen, best[3]


def _likely_id(theirs: list[str], ids: list[str]) -> str:
    same = [path for path in theirs for mine in ids[:1] if _last(path) == _last(mine)]
    like = list(filter(_is_like_id, theirs))
    return (same or like or theirs)[0]


def _texts(values: Sequence[Any]) -> set[str]:
    return {str(each) for each in values if each is not None}


def _label(sample: TopicSample, but: set[str | None]) -> str:
    """Return the likeliest path of a label: by its name, else the last one with few distinct values."""
    left = [path for path in sample.paths if path not in but and any(v is not None for v in sample.values(path))]
    left = [path for path in left if not _is_time(sample, path)]
    if not left:
        raise CannotInfer(f"no value of the messages of {sample.topic} could be a label: {', '.join(sample.paths)}")
    by_name = {_last(path).lower(): path for path in reversed(left)}
    for name in (*LABEL_NAMES, *_VERDICTS):
        if name in by_name:
            return by_name[name]
    yes_no = [path for path in left if _last(path).startswith("is_") or set(sample.values(path)) <= {True, False, None}]
    few = [path for path in left if len(_texts(sample.values(path))) <= MOST_CLASSES]
    return (yes_no or few or left)[-1]
