"""State of a learner, and the only method by which an example changes it.

Live, after a rollback and in a replay the same calls come in the same order, so the model is a function of the log
alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal, TypeAlias

from consumers.model import outlier_influence
from consumers.model.baselines import Graded
from consumers.model.evaluation import Board, default_metrics
from consumers.model.fingerprint import Chain, Probes, fingerprint
from consumers.model.lanes import Lanes
from consumers.model.learning_rules import LearningRules, Poison, Unfit, described
from consumers.model.outlier_bounds import Far, Guard, Unusual
from consumers.model.river_model import NO_ANSWER, Answer, ModelError, RiverModel, wrap
from model_store.offset_runs import Offsets
from schemas.contract import ContractError, without_values
from schemas.events import Example, Features, LabelValue, Scalar
from schemas.fast_examples import FastExample, entry_of
from schemas.label_spelling import Spellings
from schemas.target import TargetError

__all__ = ["Applied", "LearnerState", "LearningRules", "Plain", "Poison", "Unfit"]

STATE_FORMAT: Final = 3
READABLE: Final = (2, 3)  # a state of version 2 had no guard
_MOST_REFUSED: Final = 4096  # runs of offsets; two batches can hold so many
_MOST_CLASSES: Final = 1000


Plain: TypeAlias = tuple[FastExample, Features, Scalar | None]
"""An example, and its features and label in the form in which the model learns them."""
Applied = Literal["learned", "measured", "correction", "repeat", "skipped", "refused", "left_out"]


class LearnerState:
    """A model with its learning state and its metrics.

    Parameters
    ----------
    model
        The model to continue with; by default a new one.
    traced
        False for an evaluation, which writes no version: lanes and the hash chain are not kept.

    Attributes
    ----------
    skipped
        Examples that broke the model and were left out since. Examples that the rules and the guard refuse are not
        among them, because a replay refuses them again.
    refused
        The newest examples that the rules and the guard refused.
    warned
        The warning about the newest outlier that was learned.
    news
        Lines to print for the operator.
    """

    def __init__(self, rules: LearningRules, model: Any | None = None, traced: bool = True) -> None:
        self._rules = rules
        self._traced = traced
        task = rules.target.task
        self.model: RiverModel = wrap(rules.make_model() if model is None else model, task)
        make = rules.make_metrics or (lambda: default_metrics(task))
        self.board = Board(task, make, rules.window)
        self.lanes = Lanes()
        self.chain = Chain()
        self.probes = Probes()
        self.guard = Guard(rules.contract)
        self.counts: Counter[str] = Counter()
        self.skipped = Offsets()
        self.refused = Offsets()
        self.warned: str | None = None
        self.news: list[str] = []
        self._classes: dict[Scalar, None] = {}
        self._spelled = Spellings()
        self._last: Applied = "learned"  # result of the previous example: consecutive offsets form a run
        self.labels_from: int | None = None
        self.labels_to: int | None = None

    @property
    def learned(self) -> int:
        """Return the number of examples that the model has learned."""
        return self.counts["learned"]

    def apply(self, example: Example, offset: int, guilty: bool = False) -> Applied:
        """Apply the next example of the log: `take` for callers that have a decoded `Example`."""
        return self.take(entry_of(example), offset, guilty)

    def take(self, entry: FastExample, offset: int, guilty: bool = False, left_out: bool = False) -> Applied:
        """Apply the next example of the log.

        Parameters
        ----------
        guilty
            The example is known to break the model: it is noted and the model does not learn it.
        left_out
            A rebuilt version leaves this example out. Its offset is not noted, because the epoch's edits tell it.

        Raises
        ------
        RoleRefused
            If the lane is out of order.
        Unfit
            If contract, target or guard forbid the example; it has been noted as skipped.
        Poison
            If the model raised, or was ruined by an outlier; this object is then unusable and must be restored.
        """
        if self._traced and not self.lanes.admit(entry.lane, entry.event_id):
            return self._pass("repeat")
        if entry.correction or left_out or guilty:
            return self._leave_alone(entry, offset, left_out)
        rules = self._rules
        try:
            features, truth = rules.fit(entry)
            truth = self._as_met(truth)
            far = self.guard.look(features, truth if rules.target.task in ("regression", "multiclass") else None)
        except (ContractError, TargetError, Unusual) as error:
            raise self._refuse(entry, offset, error) from error
        only_measure = rules.learn_from_events and truth is not None
        before = (
            None if far is None or only_measure else outlier_influence.stand(self.model, self.probes, far.overflows)
        )
        try:
            answer = NO_ANSWER if only_measure or truth is None else self.ask(features)
            if truth is not None:
                self.board.add(truth, answer, self._served(entry), entry.times)
            if not only_measure:
                self.model.learn(features, truth, entry.weight)
        except Exception as error:
            raise Poison(self._described(error, features)) from error
        if far is not None:
            self._take_far(far, before, offset)
        self._link(entry, learned=not only_measure)
        self._last = "learned"
        if only_measure:
            return self._count("measured")
        self.probes.add(features)
        if rules.target.task == "multiclass" and truth is not None and truth not in self._classes:
            self._meet(truth)
        self._note_time(entry)
        return self._count("learned")

    # --- by stages ---------------------------------------------------------------------------------

    def take_plain(self, entries: Iterable[FastExample]) -> int:
        """Apply the plain examples at the beginning of `entries`, with the same result as `take` one by one.

        A plain example is only learned: it is next in its lane, has a label of a known class, and nothing about it is
        unusual. Each stage runs over all examples, because code and data of one stage fit into the processor's caches:
        an example takes little more than half the time. Return the number of examples that were applied. The one after
        them must be applied with `take`.

        Raises
        ------
        Poison
            As `take`; its `at` says on which of the entries.
        """
        plain = self.admit_plain(entries)
        graded, poison = self.learn_plain(plain)
        self.note_plain(plain[: len(graded)], graded)
        if poison is not None:
            raise poison
        return len(plain)

    def admit_plain(self, entries: Iterable[FastExample]) -> list[Plain]:
        """Return the plain examples at the beginning of `entries`, which lanes and bounds have noted.

        They must be learned now, in their order.
        """
        plain: list[Plain] = []
        rules, lanes, guard, task = self._rules, self.lanes, self.guard, self._rules.target.task
        as_sent, apply, of_log = rules.contract.is_open, rules.contract.apply, rules.target.of_log
        if rules.learn_from_events or task == "anomaly" or self.learned == 0:
            return plain
        classes = self._classes if task == "multiclass" else None
        lane = None
        for entry in entries:
            if entry.correction or entry.label is None:
                break
            if self._traced and (lane := lanes.expecting(entry.lane)) is None:
                break
            features = entry.features
            # A contract without declared features takes all finite doubles, under names that it has taken before.
            known = as_sent and guard.knows(features)
            try:
                features = features if known else apply(features)
                truth = of_log(entry.label)
            except (ContractError, TargetError):
                break
            if classes is not None:
                met = self._as_met(truth)
                if met is None or met not in classes:
                    break
                truth = met
            if not guard.admits(features, None if task == "binary" else truth, known):
                break
            if lane is not None:
                lanes.remember(lane, entry.event_id)
            plain.append((entry, features, truth))
        return plain

    def learn_plain(
        self, plain: Sequence[Plain], before: Callable[[int], None] | None = None
    ) -> tuple[list[Graded], Poison | None]:
        """Have the model answer and then learn each plain example; return the answers, and the error if it raised.

        `before` is called with each example's index before the model is asked.
        """
        graded: list[Graded] = []
        at, features = 0, Features()
        ask, grade, learn = self._question(), self.board.grade, self.model.learn
        try:
            for at, (entry, features, truth) in enumerate(plain):
                if before is not None:
                    before(at)
                try:
                    answer = ask(features)
                except ModelError:
                    answer = NO_ANSWER
                graded.append(grade(answer))
                learn(features, truth, entry.weight)
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            return graded, Poison(self._described(error, features), at)
        return graded, None

    def note_plain(self, plain: Sequence[Plain], graded: Sequence[Graded]) -> None:
        """Note plain examples, with the graded answers that the model gave just before it learned them.

        Raises
        ------
        Poison
            If the metrics raise.
        """
        entries, truths = [entry for entry, _, _ in plain], [truth for _, _, truth in plain]
        at = 0
        while at < len(plain):
            following = min(at + self.board.room, len(plain))
            try:
                self.board.add_several(entries[at:following], truths[at:following], graded[at:following])
            except Exception as error:
                raise Poison(self._described(error, plain[following - 1][1]), following - 1) from error
            at = following
        self.link_plain(plain)

    def link_plain(self, plain: Sequence[Plain]) -> None:
        """Note plain examples without measuring answers to them."""
        entries = [entry for entry, _, _ in plain]
        if self._traced:
            self.chain.add_learned(entries)
        self.probes.add_several([features for _, features, _ in plain])
        self._note_label_times([entry.times[1] for entry in entries if entry.times is not None])
        if plain:
            self._last = "learned"
            self.counts["learned"] += len(plain)

    def ask(self, features: Any) -> Answer:
        """Return the model's answer, as the metrics need it; an answer that is not finite counts as none."""
        try:
            return self._question()(features)
        except ModelError:
            return NO_ANSWER  # a NaN is not measured; the model's soundness is checked elsewhere
        except Exception:
            if self.learned == 0:
                return NO_ANSWER  # some models raise before they have learned anything
            raise

    def _question(self) -> Callable[[Features], Answer]:
        if self.board.wants_probabilities or self._rules.target.task not in ("binary", "multiclass"):
            return self.model.predict
        # If every metric is over labels, River's own evaluation calls predict_one.
        return self.model.decide

    def _served(self, entry: FastExample) -> tuple[LabelValue | None, dict[str, float] | None] | None:
        return (entry.prediction, entry.probabilities) if entry.answered else None

    def _pass(self, how: Applied) -> Applied:
        """Count an example that is neither learned nor bad; it ends a run of offsets."""
        self._last = how
        return self._count(how)

    def _leave_alone(self, entry: FastExample, offset: int, left_out: bool) -> Applied:
        """Take note of an entry that the model is not to see: a correction, one left out, else a guilty one."""
        if entry.correction or left_out:
            self._link(entry, learned=False)
            return self._pass("correction" if entry.correction else "left_out")
        self.skipped.add(offset, goes_on=self._last == "skipped")
        return self._skip(entry, "skipped")

    def _refuse(self, entry: FastExample, offset: int, error: Exception) -> Unfit:
        """Take note of an entry that the rules or the guard forbid, and return what says so."""
        self.refused.add(offset, goes_on=self._last == "refused", most=_MOST_REFUSED)
        self._skip(entry, "refused")
        return Unfit(getattr(error, "code", "label"), str(error))

    def _described(self, error: Exception, features: Features) -> str:
        return without_values(described(error, features), features, self._rules.contract.private)

    def _skip(self, entry: FastExample, how: Applied) -> Applied:
        self._link(entry, learned=False)
        self._last = how
        return self._count("skipped")

    def _take_far(self, far: Far, before: outlier_influence.Stand | None, offset: int) -> None:
        """Raise Poison if an outlier has ruined the model."""
        ruin = (
            None
            if before is None
            else outlier_influence.ruin(before, outlier_influence.stand(self.model, self.probes, far.overflows))
        )
        if ruin is not None:
            raise Poison(f"{far.reason}, and with it the model's {ruin}")
        self.counts["outlier"] += 1
        if far.warns:
            self.warned = f"example at offset {offset}: {far.reason}"

    def _as_met(self, label: Scalar | None) -> Scalar | None:
        """Return a label in the spelling that came first on the log, so that 1 and "1" are one class.

        If classes are declared, the target has done that already.
        """
        target = self._rules.target
        if label is None or target.task != "multiclass" or target.classes is not None:
            return label
        met = self._spelled.find(label)
        return label if met is None else met

    def _meet(self, label: Scalar) -> None:
        """Note a class that no example had before."""
        if len(self._classes) < _MOST_CLASSES:
            self._classes[label] = None
            self._spelled.add(label)
            if self._rules.target.classes is None:
                self.news.append(f"a new class is learned: {label!r}, the {len(self._classes)}. so far")

    def settled(self) -> None:
        """Clear news, warning and label times after a version was written that holds them."""
        self.news, self.warned = [], None
        self.labels_from = self.labels_to = None

    def _link(self, entry: FastExample, learned: bool) -> None:
        if self._traced:
            self.chain.add(entry.lane, entry.event_id, entry.label, learned)

    def _note_time(self, entry: FastExample) -> None:
        if entry.times is None:
            return
        self._note_label_times([entry.times[entry.label is not None]])

    def _note_label_times(self, times: list[int]) -> None:
        if times:
            self.labels_from = min(times if self.labels_from is None else (self.labels_from, *times))
            self.labels_to = max(times if self.labels_to is None else (self.labels_to, *times))

    def _count(self, what: Applied) -> Applied:
        self.counts[what] += 1
        return what

    # --- identity and state ------------------------------------------------------------------------

    def fingerprint(self) -> str:
        """Return the hash of what the model answers on the probes."""
        return fingerprint(self.model, self.probes)

    def dump(self) -> dict[str, Any]:
        """Return all but the model, as plain values and River's metrics."""
        return {
            "format": STATE_FORMAT,
            "board": self.board.dump(),
            "lanes": self.lanes.dump(),
            "chain": self.chain.value,
            "probes": self.probes.dump(),
            "counts": dict(self.counts),
            "skipped": self.skipped.runs(),
            "refused": self.refused.runs(),
            "last": self._last,
            "guard": self.guard.dump(),
            "classes": list(self._classes),
        }

    def restore(self, dumped: dict[str, Any]) -> None:
        """Restore a dumped state; the model is given to the constructor."""
        self.board.restore(dumped["board"])
        self.lanes = Lanes.load(dumped["lanes"])
        self.chain = Chain(dumped["chain"])
        self.probes = Probes.load(dumped["probes"])
        self.counts = Counter(dumped["counts"])
        self.skipped = Offsets(dumped["skipped"])
        self.refused = Offsets(dumped.get("refused", ()))
        self._last = dumped.get("last", "learned")
        if "guard" in dumped:
            self.guard.restore(dumped["guard"])
        self._classes = dict.fromkeys(dumped.get("classes", ()))
        self._spelled = Spellings(self._classes)
        self.settled()
