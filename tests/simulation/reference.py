"""What must come of a log, told plainly: the join and the order of lanes over whole topics, nothing evicted.

Written without a look at how the product does it, from the rules in docs/architecture.md alone: all records are
in memory, no state is kept, nothing depends on how the topics were read against each other.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from simulation.log import LoggedRecord

from consumers.joiner.join import JoinRules
from schemas import codec
from schemas.codec import CodecError
from schemas.events import Example, Label, LabelValue, Prediction, read_example, read_label, read_prediction
from schemas.target import TargetError
from schemas.topics import partition_of

Pair = tuple[int, int, int]  # partition, offset of the prediction, offset of the label; -1 where the wait ended


@dataclass
class Use:
    """One prediction that labels may ask for."""

    record: LoggedRecord
    label: LoggedRecord | None = None
    value: LabelValue | None = None  # that a further label is compared with
    values: list[LabelValue] = field(default_factory=list)  # that may have been learned


@dataclass
class Joins:
    """What the joiner must have written, and counted, once it has read everything.

    Attributes
    ----------
    pairs
        What each may have taught: the label's value, or that of a correction which came before the join.
    corrections
        Those that stand on the log as examples of their own, unless they came before the join.
    """

    pairs: dict[Pair, list[LabelValue]] = field(default_factory=dict)
    corrections: set[Pair] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)


def joins(predictions: Sequence[LoggedRecord], labels: Sequence[LoggedRecord], rules: JoinRules, count: int) -> Joins:
    """Join whole topics over `count` partitions each; of those that were added, labels are forwarded."""
    found = Joins()
    for record in labels:
        if record.partition >= count:
            _label(record, rules, count, found.counts)
    for number in range(count):
        mine = [record for record in labels if record.partition == number]
        uses = _uses([record for record in predictions if record.partition == number], rules)
        clocks = (
            max((r.timestamp for r in predictions if r.partition == number), default=0),
            max((r.timestamp for r in mine), default=0),
        )
        for record in mine:
            label = _label(record, rules, count, found.counts)
            if label is not None:
                found.counts[_meet(uses[label.event_id], record, label, rules, clocks[0], found)] += 1
        for use in (use for each in uses.values() for use in each):
            _end_wait(use, rules, clocks[1], found)
    return found


def _uses(predictions: Sequence[LoggedRecord], rules: JoinRules) -> defaultdict[str, list[Use]]:
    uses: defaultdict[str, list[Use]] = defaultdict(list)
    for record in predictions:
        prediction: Prediction = read_prediction(record.value or b"")
        if prediction.outcome.error is not None:
            continue
        held = uses[prediction.event.event_id]
        if not held or record.timestamp > held[-1].record.timestamp + rules.remembered:
            held.append(Use(record))
    return uses


def _label(record: LoggedRecord, rules: JoinRules, count: int, counts: Counter[str]) -> Label | None:
    value = record.value or b""
    if value.startswith(codec.TICK.header):
        return None
    try:
        label = read_label(value, default_time=record.timestamp)
        rules.target.coerce(label.value)
    except (CodecError, TargetError):
        counts["refused"] += 1
        return None
    if partition_of(label.event_id, count) != record.partition:
        counts["forwarded"] += 1
        return None
    return label


def _meet(
    uses: Sequence[Use], record: LoggedRecord, label: Label, rules: JoinRules, predictions_clock: int, found: Joins
) -> str:
    """Return the one state that a label is in."""
    time = record.timestamp
    use = next((use for use in uses if time <= use.record.timestamp + rules.remembered), None)
    if use is None:
        return "waiting" if predictions_clock <= time + rules.label_wait else "unknown"
    pair = (record.partition, use.record.offset, record.offset)
    if use.label is None:
        if abs(time - use.record.timestamp) > rules.label_wait:
            return "late" if time > use.record.timestamp else "unknown"
        use.label, use.value, use.values = record, label.value, [label.value]
        found.pairs[pair] = use.values
        return "joined"
    if time > max(use.label.timestamp, use.record.timestamp) + rules.dedup_window:
        return "late"
    if label.kind == "correction":
        use.value = label.value
        use.values.append(label.value)
        found.corrections.add(pair)
        return "correction"
    return "duplicate" if use.value == label.value else "contradicting"


def _end_wait(use: Use, rules: JoinRules, labels_clock: int, found: Joins) -> None:
    if use.label is not None or labels_clock <= use.record.timestamp + rules.label_wait:
        return
    found.counts["unlabelled" if rules.on_timeout is None else "timeout"] += 1
    if rules.on_timeout is not None:
        found.pairs[use.record.partition, use.record.offset, -1] = [rules.on_timeout]


@dataclass(frozen=True)
class Lessons:
    """What a learner must take in of an examples log, in order, and where it must stop."""

    entries: list[tuple[int, Example]]
    fault: int | None


def lessons(log: Sequence[LoggedRecord]) -> Lessons:
    """Take each sequence of each lane once, in order; whatever else is out of order ends it."""
    lanes: dict[str, tuple[str, list[str]]] = {}
    taken: list[tuple[int, Example]] = []
    for record in log:
        try:
            example = read_example(record.value or b"")
        except CodecError:
            continue
        lane, event_id = example.lane, example.event.event_id
        epoch, ids = lanes.get(lane.name, ("", []))
        if epoch != lane.epoch:
            epoch, ids = lanes[lane.name] = lane.epoch, []
        if lane.sequence == len(ids):
            ids.append(event_id)
            taken.append((record.offset, example))
        elif lane.sequence > len(ids) or ids[lane.sequence] != event_id:
            return Lessons(taken, record.offset)
    return Lessons(taken, None)
