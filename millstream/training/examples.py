"""Examples of a training: columns in the order of the log, with the times of prediction and label."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from millstream.estimators.fitting import Numbers
from millstream.estimators.trial import Served
from schemas.events import Features, Scalar

_BEFORE_ALL: Final = -1  # place of a prediction among what came in its millisecond: before every label of the log


class Moment(NamedTuple):
    """A moment of the log: the broker's time (ms), and among equal times the offset of the examples log."""

    time: int
    place: int


class Corrected(NamedTuple):
    """A later label of an example, with the moment at which it came."""

    came: Moment
    label: Scalar
    weight: float


@dataclass
class Examples:
    """Examples of a range of the log.

    An imported example has no prediction: it counts as predicted when it came, with its label.

    Attributes
    ----------
    features, labels, weights
        As live learning would have learned them, each with its first label.
    predicted, labelled
        Broker times (ms) of the prediction and of the label.
    offsets
        Offsets in the examples log.
    imported
        1 for an example without a prediction.
    served
        The answers that were served; `None` for an imported example.
    slices
        Value of each event by name of the slice.
    whole
        All features of an imported example, by its index, where the model is given fewer.
    corrections
        Later labels, in their order, by the index of the example.
    """

    features: list[Features] = field(default_factory=list)
    labels: list[Scalar] = field(default_factory=list)
    weights: array[float] = field(default_factory=lambda: array("d"))
    predicted: array[int] = field(default_factory=lambda: array("q"))
    labelled: array[int] = field(default_factory=lambda: array("q"))
    offsets: array[int] = field(default_factory=lambda: array("q"))
    imported: array[int] = field(default_factory=lambda: array("b"))
    served: list[Served | None] = field(default_factory=list)
    slices: list[dict[str, str]] = field(default_factory=list)
    whole: dict[int, Features] = field(default_factory=dict)
    corrections: dict[int, list[Corrected]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.features)

    def in_time(self) -> Numbers:
        """Return the indexes of all examples in the order of their predictions."""
        return np.lexsort((np.array(self.offsets), self._predicted_places(), np.array(self.predicted)))

    def asked_at(self, index: int) -> Moment:
        """Return when an example was predicted."""
        place = self.offsets[index] if self.imported[index] else _BEFORE_ALL
        return Moment(self.predicted[index], place)

    def labelled_before(self, moment: Moment) -> Numbers:
        """Return for each example whether its first label had come before a moment."""
        times, places = np.array(self.labelled), np.array(self.offsets)
        found: Numbers = (times < moment.time) | ((times == moment.time) & (places < moment.place))
        return found

    def known_at(self, indexes: Sequence[int], moment: Moment | None) -> tuple[list[Scalar], Numbers]:
        """Return labels and weights of examples as they were known at a moment; `None` is the end of the range."""
        labels = [self.labels[each] for each in indexes]
        weights = np.array([self.weights[each] for each in indexes], dtype=np.float64)
        if not self.corrections:
            return labels, weights
        for at, index in enumerate(indexes):
            for corrected in self.corrections.get(index, ()):
                if moment is None or corrected.came < moment:
                    labels[at], weights[at] = corrected.label, corrected.weight
        return labels, weights

    def _predicted_places(self) -> Numbers:
        offsets = np.array(self.offsets)
        found: Numbers = np.where(np.array(self.imported) != 0, offsets, _BEFORE_ALL)
        return found
