"""Getting a model back from what breaks it: the last good version, a replay, and the guilty record found by bisection.

Nothing is looked at after each example. What was learned since the newest version is kept, and a version is written
only of a model whose answers on its probe are finite; so a fault that shows late costs a replay, never a bad version.

- A model that raises, or whose probe is not finite: the records since are bisected, from copies of the good state,
  for the first after which the probe fails; where it fails after none of them, the record that raised is the guilty.
- An outlier (`consumers.guard`) that was learned may have ruined a model whose every answer is finite. So before the
  next version the model is made once more without it. If the answers on the probe differ by more than a point on
  average, it stays out: the influence of one observation is what answers change by if it is deleted (Cook,
  "Detection of Influential Observation in Linear Regression", Technometrics 19, 1977). Several are bisected, too.

Who is guilty depends on which version was the newest, and so on the clock. It goes into manifest and chain, and a
replay leaves out the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from consumers.failures import Refused
from consumers.identity import Probes
from consumers.learning import Learning, Poison, Unfit
from consumers.processor import Record
from consumers.river_model import Answer, ModelError, RiverModel
from schemas.codec import CodecError
from schemas.entries import EntryReader

_MOST_KEPT_BYTES: Final = 256 << 20
_MOST_FOUND: Final = 100  # at once, by their effect: a model that fails on so many fails by itself
_INFLUENCE: Final = 0.01  # a point of probability; for numbers, a hundredth of how far answers are apart
_MOST_TRIALS: Final = 16


class Found(NamedTuple):
    """A record that the model is better off without, and why."""

    record: Record
    reason: str


class _Stuck(NamedTuple):
    """Which of the records the model raised on."""

    at: int
    reason: str


@dataclass
class Restored:
    """A model that is sound again, and what was left out for it."""

    learning: Learning
    found: list[Found] = field(default_factory=list)


class Shield:
    """What was learned since the newest version, and the way back to it.

    Parameters
    ----------
    copy
        Returns a learner's whole state as an object of its own.

    Attributes
    ----------
    records
        Those since the newest version, in order.
    guilty
        Offsets among them that are left out.
    """

    def __init__(self, copy: Callable[[Learning], Learning]) -> None:
        self._copy = copy
        self._reader = EntryReader()
        self._bytes = 0
        self.records: list[Record] = []
        self.guilty: set[int] = set()

    def begin(self, *records: Record) -> None:
        """There is a new version, and these records were taken in since."""
        self.records, self._bytes = [], 0
        self.guilty.clear()
        for record in records:
            self.keep(record)

    def keep(self, record: Record) -> None:
        """Keep a record for going back, within bounds: past them, going back is what a start does."""
        self._bytes += len(record.value or b"")
        if self.overfull:
            self.records = []
        else:
            self.records.append(record)

    @property
    def overfull(self) -> bool:
        """Whether too much was learned since the newest version to go back to it."""
        return self._bytes > _MOST_KEPT_BYTES

    @property
    def filling(self) -> bool:
        """Whether a version should be written so that there is a way back."""
        return self._bytes > _MOST_KEPT_BYTES // 2

    # --- what raised, or left the probe without finite answers -------------------------------------

    def restore(self, good: Learning) -> Restored:
        """Return the newest version with all learned that came since but what breaks it.

        Parameters
        ----------
        good
            The newest version as loaded. Left as it is.

        Raises
        ------
        Refused
            Where it is the model that fails and not some records.
        """
        restored = Restored(good)
        records: Sequence[Record] = self.records
        by_effect = 0
        while True:
            whole, stuck = self._replay(good, records)
            reason = unsound(whole) if stuck is None else None
            if stuck is None and reason is None:
                restored.learning = whole
                return restored
            before = records
            if stuck is not None:
                before = records[: stuck.at]
                whole, _ = self._replay(good, before)
                reason = unsound(whole)
            if reason is not None:
                good, at = self._bisect(good, before, reason)
                by_effect += 1
            else:
                assert stuck is not None  # noqa: S101 - else it would be sound
                good, at, reason = whole, stuck.at, stuck.reason
            if by_effect > _MOST_FOUND:
                raise Refused(
                    f"more than {_MOST_FOUND} examples leave the model without finite answers ({reason}): it fails by "
                    "itself, as with a learning rate that is too high. What was learned before serves on; correct "
                    "the model, and start the learner once with --new-epoch fresh"
                )
            self.guilty.add(records[at].offset)
            restored.found.append(Found(records[at], reason))
            records = records[at:]

    def _bisect(self, good: Learning, records: Sequence[Record], reason: str) -> tuple[Learning, int]:
        """Return the first record after which the model is unsound, and the state just before it."""
        if unsound(good) is not None or not records:
            raise Refused(
                f"the model answers with no number ({reason}) and nothing was learned since its newest version. Start "
                "the learner once with --new-epoch replay"
            )
        low, high = 0, len(records)  # sound before `low`, unsound after `high - 1`
        while high - low > 1:
            middle = (low + high) // 2
            trial, stuck = self._replay(good, records[low:middle])
            if stuck is None and unsound(trial) is None:
                good, low = trial, middle
            else:
                high = middle
        return good, low

    # --- outliers that were learned ----------------------------------------------------------------

    def weigh(self, live: Learning, good: Learning) -> Restored | None:
        """Return the model without those outliers since the newest version that ruin it; `None` if none does."""
        reasons = {offset: reason for offset, reason in live.far if offset not in self.guilty}
        if not reasons:
            return None
        without, stuck = self._replay(good, self.records, reasons)
        if stuck is not None or unsound(without) is not None:
            return None  # it is not for them that it fails
        moved = influence(live.model, without.model, without.probes)
        if moved <= _INFLUENCE:
            return None
        harmful = _Sifting(lambda out: self._moved(good, without, out), list(reasons)).harmful()
        self.guilty |= harmful
        restored = self.restore(good)
        text = "all" if math.isinf(moved) else f"{100 * moved:.3g} points"
        for record in self.records:
            if record.offset in harmful:
                reason = f"{reasons[record.offset]}, and the model's answers move by {text} with it"
                restored.found.append(Found(record, reason))
        return restored

    def _moved(self, good: Learning, without: Learning, left_out: Collection[int]) -> bool:
        trial, stuck = self._replay(good, self.records, left_out)
        return stuck is not None or influence(trial.model, without.model, without.probes) > _INFLUENCE

    # --- replays -----------------------------------------------------------------------------------

    def _replay(
        self, good: Learning, records: Sequence[Record], left_out: Collection[int] = ()
    ) -> tuple[Learning, _Stuck | None]:
        """Apply records to a copy, as a learner does; stop where the model raises."""
        learning = self._copy(good)
        for at, record in enumerate(records):
            try:
                entry = self._reader.read(record.value or b"")
                learning.take(entry, record.offset, record.offset in self.guilty or record.offset in left_out)
            except (CodecError, Unfit):
                continue
            except Poison as poison:
                return learning, _Stuck(at, poison.reason)
        return learning, None


class _Sifting:
    """Finds out of several outliers those that do harm, by halves.

    Parameters
    ----------
    harm
        Given which are left out, tells whether the others do harm.
    """

    def __init__(self, harm: Callable[[Collection[int]], bool], suspects: list[int]) -> None:
        self._harm = harm
        self._suspects = suspects
        self._kept: set[int] = set()
        self._trials = 0

    def harmful(self) -> set[int]:
        """Return them; where each alone does none and all together do, all."""
        return self._among(self._suspects) or set(self._suspects)

    def _among(self, group: list[int]) -> set[int]:
        """Return the harmful ones of a group that does harm."""
        self._trials += 2
        if len(group) == 1 or self._trials > _MOST_TRIALS:
            return set(group)
        found: set[int] = set()
        for half in (group[: len(group) // 2], group[len(group) // 2 :]):
            kept = self._kept | set(half)
            if self._harm(set(self._suspects) - kept):
                found |= self._among(half)
            else:
                self._kept = kept
        return found


# --- judging ---------------------------------------------------------------------------------------


def unsound(learning: Learning) -> str | None:
    """Return why a model's answers on its probe are none; `None` where they are finite."""
    try:
        learning.fingerprint()
    except ModelError as error:
        return f"it leaves the model without finite answers: {error}"
    return None


def influence(model: RiverModel, other: RiverModel, probes: Probes) -> float:
    """Return how far two models' answers on the probes are apart.

    Returns
    -------
    float
        Of probabilities the mean total variation distance, of classes the share that differs, of numbers the mean
        distance as a share of how far the other's answers are apart from each other; infinite where `model` fails.
    """
    answers: list[tuple[Answer, Answer]] = []
    for features in probes:
        try:
            answers.append((model.predict(features), other.predict(features)))
        except Exception:  # noqa: BLE001 - a model may raise anything
            return math.inf
    if not answers:
        return 0.0
    if all(isinstance(each.value, float) and each.probabilities is None for pair in answers for each in pair):
        return _apart([(float(mine.value or 0.0), float(its.value or 0.0)) for mine, its in answers])
    return sum(_distance(mine, its) for mine, its in answers) / len(answers)


def _distance(mine: Answer, its: Answer) -> float:
    if mine.probabilities is None or its.probabilities is None:
        return float(mine.value != its.value)
    classes = {**mine.probabilities, **its.probabilities}
    return sum(abs(mine.probabilities.get(each, 0.0) - its.probabilities.get(each, 0.0)) for each in classes) / 2


def _apart(pairs: Sequence[tuple[float, float]]) -> float:
    mean = sum(its for _, its in pairs) / len(pairs)
    spread = sum(abs(its - mean) for _, its in pairs) / len(pairs)
    distance = sum(abs(mine - its) for mine, its in pairs) / len(pairs)
    if distance == 0.0:
        return 0.0
    return distance / (spread or abs(mean) or 1.0)
