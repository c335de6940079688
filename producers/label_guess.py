"""Inference of a stream's task from the values of its label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from producers.cell_spellings import is_missing
from producers.cell_types import Kind, widest
from producers.rows import SourceError
from schemas.events import Scalar
from schemas.label_spelling import Spellings, folded, whole_number
from schemas.target import Target, TargetError, Task

MOST_CLASSES: Final = 20
_ROWS_OF_A_CLASS: Final = 20  # with fewer rows for each, whole numbers are probably counts and not classes
_POSITIVE: Final = frozenset({"1", "yes", "true", "y", "t", "up", "spam", "fraud", "positive", "pos", "bad"})
_PLAIN: Final = frozenset({"0", "1", "true", "false", "yes", "no"})
_SHOWN: Final = 6

Guess: TypeAlias = tuple[Task, Scalar | None, tuple[Scalar, ...] | None]
"""The task, the label that means True, and the classes."""


@dataclass(frozen=True)
class Labels:
    """The different values of a label, with their counts, the most frequent first."""

    counts: Mapping[Scalar, int]

    @classmethod
    def of(cls, labels: Iterable[Scalar]) -> Labels:
        """Count labels. Texts count without the white space at their ends, and 2.0 counts as 2.

        >>> Labels.of(["a", " a", "b"]).text, Labels.of([1, 2.0, "2"]).text
        ('a 2, b 1', '2 2, 1 1')
        """
        counts = _merged(Counter(map(_plain, labels)))
        if any(isinstance(value, (int, float)) and not isinstance(value, bool) for value in counts):
            counts = Counter({value: count for value, count in counts.items() if not _is_missing(value)})
        return cls(dict(counts.most_common()))

    @property
    def rows(self) -> int:
        """Return the number of labels."""
        return sum(self.counts.values())

    @property
    def kind(self) -> Kind | None:
        """Return the type that includes all values; `None` if there are none."""
        found: Kind | None = None
        for value in self.counts:
            kind: Kind = "boolean" if isinstance(value, bool) else "integer" if isinstance(value, int) else "number"
            kind = "string" if isinstance(value, str) else kind
            found = kind if found is None else widest(found, kind)
        return found

    @property
    def text(self) -> str:
        """Return the values with their counts, as ``no 812, yes 188``; of many numbers the range."""
        if self.kind in {"number", "integer"} and len(self.counts) > MOST_CLASSES:
            low, high = min(map(float, self.counts)), max(map(float, self.counts))
            return f"{low:.6g} to {high:.6g}"
        shown = [f"{_short(value)} {count:,}" for value, count in list(self.counts.items())[:_SHOWN]]
        more = len(self.counts) - len(shown)
        return ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")


def task_of(labels: Labels, given: Task | None = None) -> Guess:
    """Guess task, positive label and classes; without labels the task is anomaly.

    Raises
    ------
    SourceError
        If the labels cannot be those of the given task.
    """
    guess = _guess(labels)
    try:
        Target(task=guess[0], positive=guess[1], classes=guess[2]).check()
    except TargetError:  # a mixture of booleans, numbers and texts: the stream refuses what is no label
        guess = guess[0], None, None
    if given is None or (given == guess[0] and given != "anomaly"):
        return guess
    if not labels.counts:
        return given, None, None
    return _GIVEN[given](labels)


def likely_positive(values: Iterable[Scalar]) -> Scalar | None:
    """Guess which of one or two labels means True; `None` if they are booleans by themselves."""
    found = set(values)
    if all(isinstance(value, bool) for value in found):
        return None
    return _positive(found) if all(isinstance(value, str) for value in found) else max(found, key=str)


def why_task(labels: Labels, task: Task) -> str:
    """Return the reason for a guessed task."""
    count = len(labels.counts)
    if not labels.counts:
        return "no row has a label"
    if task == "binary":
        return f"{count} values" if count == 2 else "one value" if count == 1 else "two values, in several spellings"
    if task == "regression":
        return "numbers" if labels.kind == "number" else "whole numbers, too many or too rare to be classes"
    return "one value" if count == 1 else f"{count:,} different values"


def alike(spelled: Mapping[str, int]) -> Sequence[Mapping[str, int]]:
    """Return the groups of spellings that differ only by case, quotes, dots, or as ``1`` and ``1.0`` do."""
    groups: dict[object, dict[str, int]] = {}
    for text, count in spelled.items():
        whole = whole_number(text)
        groups.setdefault(folded(text) if whole is None else whole, {})[text] = count
    return [group for group in groups.values() if len({text.strip() for text in group}) > 1]


def notes_of_alike(label: str, spelled: Mapping[str, int], guess: Guess) -> list[str]:
    """Return a note for each group of similar spellings: whether the stream takes them as one class."""
    task, positive, classes = guess
    if task == "regression":
        return []
    target = Target(task=task, positive=positive, classes=classes)
    notes = []
    for group in alike(spelled):
        said = ", ".join(f"{text!r} ({count:,} rows)" for text, count in list(group.items())[:_SHOWN])
        try:
            same = len({repr(target.coerce(text)) for text in group}) == 1
        except TargetError:
            ends = "the stream refuses all but one of them: spell them alike in the file"
        else:
            ends = "they are read as one class" if same else "they are classes of their own: if not, spell them alike"
        notes.append(f"{label}: {said} differ only in their spelling; {ends}")
    return notes


def _merged(counts: Counter[Scalar]) -> Counter[Scalar]:
    """Return the counts with the spellings of one class under one of them, a number rather than a text."""
    merged: Counter[Scalar] = Counter()
    known = Spellings()
    for value in sorted(counts, key=lambda each: isinstance(each, str)):
        found = known.find(value)
        if found is None:
            known.add(value)
            found = value
        merged[found] += counts[value]
    return merged


def _is_missing(value: Scalar) -> bool:
    return isinstance(value, str) and is_missing(value)


def _plain(value: Scalar) -> Scalar:
    if isinstance(value, str):
        return value.strip()
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _guess(labels: Labels) -> Guess:
    """Two values are binary, words and few whole numbers are classes."""
    values, kind = set(labels.counts), labels.kind
    if kind is None:
        return "anomaly", None, None
    plain = {str(value).lower() for value in values}
    if plain <= _PLAIN and len(plain) <= 2:
        return "binary", None, None
    return _by_words(values) if kind == "string" else _by_numbers(labels)


def _by_words(values: set[Scalar]) -> Guess:
    if len(values) == 2 and all(isinstance(value, str) for value in values):
        # Both classes are listed, so that a third spelling is refused and not taken for the negative one.
        return "binary", _positive(values), tuple(sorted(map(str, values)))
    mixed = any(isinstance(value, bool) for value in values)
    many = mixed or len(values) > MOST_CLASSES
    return "multiclass", None, None if many else tuple(sorted(map(str, values)))


def _by_numbers(labels: Labels) -> Guess:
    whole = [value for value in labels.counts if isinstance(value, int)]
    if labels.kind == "integer" and len(whole) == 2:
        return "binary", max(whole), tuple(sorted(whole))
    if labels.kind == "integer" and len(whole) <= MOST_CLASSES and len(whole) * _ROWS_OF_A_CLASS <= labels.rows:
        return "multiclass", None, tuple(sorted(whole))
    return "regression", None, None


def _positive(values: set[Scalar]) -> Scalar:
    """Guess which of two words means True: a known word, else the later one in the alphabet."""
    words = sorted(map(str, values))
    return next((word for word in words if word.lower() in _POSITIVE), words[-1])


# --- for a given task ------------------------------------------------------------------------------


def _as_regression(labels: Labels) -> Guess:
    wrong = next((value for value in labels.counts if isinstance(value, (bool, str))), None)
    if wrong is not None:
        raise SourceError(f"--task regression: the label is {_short(wrong)} in some rows, which is not a number")
    return "regression", None, None


def _as_multiclass(labels: Labels) -> Guess:
    wrong = next((value for value in labels.counts if isinstance(value, float)), None)
    if wrong is not None:
        raise SourceError(
            f"--task multiclass: the label is {wrong!r} in some rows; a class is a text or a whole number"
        )
    kind, values = labels.kind, list(labels.counts)
    if len(values) > MOST_CLASSES:
        return "multiclass", None, None
    return "multiclass", None, tuple(sorted(map(str, values)) if kind == "string" else sorted(values))


def _as_binary(labels: Labels, task: Task = "binary") -> Guess:
    """Return the two most frequent spellings as the classes, if all other spellings are like one of them."""
    firsts: dict[object, Scalar] = {}
    for value in labels.counts:
        firsts.setdefault(folded(value) if isinstance(value, str) else value, value)
    if len(firsts) > 2:
        raise SourceError(f"--task {task}: the label has {len(firsts):,} values ({labels.text}), and two are possible")
    found = Labels({value: labels.counts[value] for value in firsts.values()})
    if {str(value).lower() for value in found.counts} <= _PLAIN:
        return task, None, None
    if found.kind == "string":
        return task, _positive(set(found.counts)), tuple(sorted(map(str, found.counts)))
    return task, max(found.counts, key=float), tuple(sorted(found.counts, key=float))


def _as_anomaly(labels: Labels) -> Guess:
    return _as_binary(labels, "anomaly")


_GIVEN: Final = {
    "regression": _as_regression,
    "multiclass": _as_multiclass,
    "binary": _as_binary,
    "anomaly": _as_anomaly,
}


def _short(value: Scalar) -> str:
    text = str(value).lower() if isinstance(value, bool) else f"{value:.6g}" if isinstance(value, float) else str(value)
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= 30 else text[:29] + "…"
