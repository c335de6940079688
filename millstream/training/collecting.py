"""Records of the examples log made into a training's examples, by the code of live learning.

Contract, target, outlier bounds and the order of lanes decide what is left out, as in a learner. Its model here only
takes note of what it is told to learn.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from consumers.model.lanes import LaneFault
from consumers.model.learning_rules import LearningRules, Unfit
from consumers.model.model_state import LearnerState
from millstream.estimators.trial import Served
from millstream.stream.slices import SliceReader
from millstream.training.examples import Corrected, Examples, Moment
from runtime.kafka_client.records import Record
from schemas.codec import CodecError
from schemas.events import Features, LabelValue, Scalar
from schemas.fast_examples import EntryReader, FastExample
from schemas.target import TargetError

REPEATED: Final = "repeat"
UNREADABLE: Final = "unreadable"
CORRECTIONS: Final = "correction"
SAMPLED: Final = "beyond most="


class _Noting:
    """Stands in a learner for the model: answers nothing, and keeps the last example that it was to learn."""

    def __init__(self) -> None:
        self.told: tuple[Features, Any] = ({}, None)

    def predict_one(self, features: Features) -> None:
        return None

    def predict_proba_one(self, features: Features) -> dict[Any, float]:
        return {}

    def learn_one(self, features: Features, label: Any, w: float = 1.0) -> None:
        self.told = (features, label)


class Collector:
    """Takes the records of a range of the log, in their order.

    Parameters
    ----------
    most
        Number of examples to keep; of more, a sample is kept in which each has the same chance.
    seed
        Of the sample.
    slices
        Returns the slices of an event; `None` keeps none.

    Attributes
    ----------
    examples
        What is trained on.
    left_out
        Number of records that are not trained on, by the reason.
    """

    def __init__(self, rules: LearningRules, most: int, seed: int, slices: SliceReader | None = None) -> None:
        self._noting = _Noting()
        # Nothing is measured here: the metrics would cost most of the time.
        self._state = LearnerState(replace(rules, make_metrics=list), self._noting)
        self._rules = rules
        self._reader = EntryReader()
        self._most = most
        self._slices = slices
        self._random = random.Random(seed)  # noqa: S311 - a sample, not a secret
        self._count = 0
        self._indexes: dict[str, list[int]] = {}
        self._ids: list[str] = []
        self.examples = Examples()
        self.left_out: Counter[str] = Counter()

    @property
    def chain(self) -> str:
        """Hash chain over all records of the range, as a learner keeps it."""
        return self._state.chain.hex()

    @property
    def skipped(self) -> list[int | tuple[int, int]]:
        """Offsets of the examples that the rules and the bounds refused."""
        return self._state.refused.runs()

    def take(self, records: Sequence[Record]) -> None:
        """Take the next records."""
        read: list[tuple[FastExample, Record]] = []
        for record in records:
            try:
                read.append((self._reader.read(record.value or b""), record))
            except CodecError:
                self.left_out[UNREADABLE] += 1
        at = 0
        while at < len(read):
            plain = self._state.admit_plain(entry for entry, _ in islice(read, at, None))
            self._state.link_plain(plain)
            for entry, features, truth in plain:
                self._keep(entry, features, truth, read[at][1])
                at += 1
            if at < len(read):
                self._take_one(*read[at])
                at += 1

    def _take_one(self, entry: FastExample, record: Record) -> None:
        try:
            applied = self._applied(entry, record.offset)
        except Unfit as unfit:
            self.left_out[unfit.code] += 1
            return
        if applied == "learned":
            self._keep(entry, *self._noting.told, record)
        elif applied == "correction":
            self._correct(entry, record)
        else:
            self.left_out[REPEATED] += 1

    def _applied(self, entry: FastExample, offset: int) -> str:
        try:
            return self._state.take(entry, offset)
        except LaneFault:
            # The range begins within the lane, or a person has made the learner go on behind a fault.
            self._state.lanes.stand_at(entry.lane)
            return self._state.take(entry, offset)

    def _keep(self, entry: FastExample, features: Features, truth: Scalar | None, record: Record) -> None:
        assert truth is not None  # noqa: S101 - the rules refuse an example without a label
        examples, index = self.examples, self._count
        self._count += 1
        if index >= self._most:
            self.left_out[SAMPLED] += 1
            index = self._random.randrange(self._count)
            if index >= self._most:
                return
            self._forget(index)
        else:
            _append_empty(examples)
            self._ids.append("")
        predicted, labelled = (record.timestamp,) * 2 if entry.times is None else entry.times
        examples.features[index], examples.labels[index] = features, truth
        examples.weights[index] = entry.weight
        examples.predicted[index], examples.labelled[index] = predicted, labelled
        examples.offsets[index] = record.offset
        examples.imported[index] = entry.times is None
        examples.served[index] = _served(entry)
        if entry.times is None and self._rules.contract.sees is not None:
            examples.whole[index] = entry.features
        if self._slices is not None:
            # From the event's own features: the model may be given fewer.
            examples.slices[index] = self._slices(entry.features)
        self._ids[index] = entry.event_id
        self._indexes.setdefault(entry.event_id, []).append(index)

    def _forget(self, index: int) -> None:
        """Forget the example that another one replaces in the sample."""
        self.examples.corrections.pop(index, None)
        self.examples.whole.pop(index, None)
        indexes = self._indexes[self._ids[index]]
        indexes.remove(index)
        if not indexes:
            del self._indexes[self._ids[index]]

    def _correct(self, entry: FastExample, record: Record) -> None:
        """Add a later label to its example, which has the same event and the same prediction."""
        self.left_out[CORRECTIONS] += 1
        value: LabelValue | None = entry.label
        if value is None or entry.times is None:
            return
        try:
            label = self._rules.target.of_log(value)
        except TargetError:
            return
        for index in self._indexes.get(entry.event_id, ()):
            if self.examples.predicted[index] == entry.times[0]:
                came = Moment(entry.times[1], record.offset)
                self.examples.corrections.setdefault(index, []).append(Corrected(came, label, entry.weight))


def _append_empty(examples: Examples) -> None:
    examples.features.append({})
    examples.labels.append(False)
    examples.weights.append(1.0)
    for column in (examples.predicted, examples.labelled, examples.offsets, examples.imported):
        column.append(0)
    examples.served.append(None)
    examples.slices.append({})


def _served(entry: FastExample) -> Served | None:
    return (entry.prediction, entry.probabilities) if entry.answered else None
