"""Referee role: reads comparisons, and decides by the stream's rule which model serves.

A decision is written to the models topic and to the decisions topic, in the transaction with the referee's place: so
it is made once, whatever ends the process. The state of the contest is not kept: comparisons are read again from the
beginning of the contest, whose offset is in the metadata of the committed offset.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from consumers.loop.last_offsets_file import TopicMemory
from consumers.loop.log_faults import short_ids
from consumers.loop.processor import Assignment, Start
from consumers.loop.start_offsets import Starts
from consumers.referee.alerts import RefereeAlerts
from consumers.referee.contest import Contest, Places
from consumers.referee.losses import Loss
from consumers.referee.offset_metadata import Decided, RefereeMetadata
from consumers.referee.rule import Rule
from consumers.referee.serving import Serving, ServingDecisions
from consumers.roles import REFEREE
from runtime.kafka_client.records import Batch, CommittedOffset, Output, Partition, Positions, Record
from schemas.codec import CodecError
from schemas.comparisons import read_comparison
from schemas.model_names import model_id, name_of
from schemas.model_updates import ModelUpdate, Promoted
from schemas.topics import COMPARISONS, Names

_SAID_IN_FULL: Final = 20
_NOWHERE: Final = Places(None, None, {})


@dataclass(frozen=True)
class RefereeSettings:
    """Settings of a referee.

    Attributes
    ----------
    new_epoch
        Continue although the topic is no longer the one that the referee left, with a new contest.
    """

    names: Names
    rule: Rule
    new_epoch: bool = False
    shard: int = 0


class Referee:
    """The `Processor` of the referee; the module docstring describes it.

    Parameters
    ----------
    serving
        The decisions on serving that others made.
    clock
        Milliseconds since 1970, for the time in a decision.
    say
        Prints one line for the operator.
    memory
        Remembers which topic was read last, and up to which offset.
    """

    def __init__(
        self,
        settings: RefereeSettings,
        serving: ServingDecisions,
        clock: Callable[[], int] | None = None,
        say: Callable[[str], None] = print,
        memory: TopicMemory | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock or (lambda: time.time_ns() // 1_000_000)
        self._serving = serving
        self._say = say
        self._memory = memory or TopicMemory()
        self._topic = settings.names.topic(COMPARISONS)
        self._partition = Partition(self._topic, 0)
        self._topic_id = ""
        self._starts = Starts(REFEREE, RefereeMetadata, self._memory, (), settings.new_epoch, say)
        self._loss = Loss(settings.rule.loss)
        self._alerts = RefereeAlerts(settings.names, say)
        self._unreadable = 0
        self._contest: Contest | None = None  # None on standby
        self._served: Serving = serving.now(None)
        self._state = RefereeMetadata()
        self._stale = True

    @property
    def topics(self) -> Sequence[str]:
        return (self._topic,)

    @property
    def overlaps(self) -> bool:
        return False  # it writes a handful of records in its life

    # --- taking over -------------------------------------------------------------------------------

    def assigned(self, assignment: Assignment) -> Mapping[Partition, Start]:
        self._contest = None
        if self._partition not in assignment.committed:
            self._say("waiting: another referee works")
            return {partition: Start(live=end) for partition, end in assignment.ends.items()}
        self._topic_id = short_ids(assignment.topic_ids[self._topic])
        starts, notes = self._starts.take(assignment)
        self._state = notes[self._partition]
        self._alerts.restore(self._state.alerts)
        self._served = self._serving.now(self._state.decided)
        self._bar_if_taken_back(self._served)
        beginning = assignment.beginnings[self._partition]
        places = Places(self._state.contest, self._state.guard, self._by_id(self._state.epochs))
        read_from = places.read_from
        goes_on = (
            self._state.contest_of == self._contest_of()
            and not starts[self._partition].back
            and read_from is not None
            and read_from >= beginning
        )
        self._contest = self._new_contest(places if goes_on else _NOWHERE)
        mine = replace(starts[self._partition], recover_from=read_from if goes_on else None)
        beside = {other: Start(live=end) for other, end in assignment.ends.items() if other != self._partition}
        return {**beside, self._partition: mine}

    def recover(self, batch: Batch) -> None:
        """Read a contest's comparisons again. It decided nothing at any of them: a decision would have ended it."""
        for record in batch.get(self._partition, ()):
            self._take(record)

    def recovered(self) -> None:
        """Do nothing: the contest is as it was."""

    def _new_contest(self, places: Places = _NOWHERE) -> Contest:
        self._stale = True
        barred = self._by_id(self._state.barred)
        return Contest(self._settings.rule, self._served.champion, self._loss, barred, places)

    def _by_id(self, epochs: Mapping[str, int]) -> dict[str, int]:
        return {model_id(self._settings.names.stream, name): epoch for name, epoch in epochs.items()}

    def _contest_of(self) -> str:
        served = self._served
        text = f"{self._settings.rule.fingerprint()} {served.champion} {served.follows}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    # --- comparisons -------------------------------------------------------------------------------

    def process(self, batch: Batch) -> list[Output]:
        outputs = self._follow()
        for record in batch.get(self._partition, ()):
            outputs += self._count(record)
        return outputs

    def tick(self, now_ms: int) -> list[Output]:
        return [*self._follow(), *self._decide()]

    def _follow(self) -> list[Output]:
        """Begin a new contest if another model serves, or a person has decided."""
        if self._contest is None:
            return []
        served = self._serving.now(self._state.decided)
        if served == self._served:
            return []
        self._bar_if_taken_back(served)
        self._served = served
        self._contest = self._new_contest()
        self._say(f"a new contest begins: {name_of(served.champion.model)} serves")
        return self._alerts.contest_begins(self._clock())

    def _bar_if_taken_back(self, served: Serving) -> None:
        """Note it if a person has rolled a promotion back: the rule does not promote that epoch again."""
        state, decided = self._state, self._state.decided
        if decided is None or decided.by != "rule" or served.follows == decided.follows:
            return
        if served.champion.model == decided.before:
            state.barred[name_of(decided.model)] = state.promoted_epoch

    def _count(self, record: Record) -> list[Output]:
        """Take one comparison; return the decision that follows from it."""
        if self._contest is None:
            return []
        before, failed = self._contest.places.contest, self._loss.failed
        self._take(record)
        outputs = (
            self._alerts.contest_begins(self._clock()) if before not in (None, self._contest.places.contest) else []
        )
        if self._loss.failed > failed:
            outputs += self._alerts.loss_fails(self._loss.failed, self._clock())
        return outputs + self._decide()

    def _take(self, record: Record) -> None:
        if self._contest is None:
            return
        self._stale = True
        try:
            comparison = read_comparison(record.value or b"")
        except CodecError as error:
            self._unreadable += 1
            if self._unreadable <= _SAID_IN_FULL:
                self._say(f"{self._topic} offset {record.offset} does not count: {error}")
            return
        self._contest.take(record.offset, comparison)

    # --- decisions ---------------------------------------------------------------------------------

    def _decide(self) -> list[Output]:
        contest = self._contest
        if contest is None:
            return []
        guard, champion = contest.guard, self._served.champion
        if guard is not None and guard.reason is not None and champion.former is not None:
            return self._serve(self._decision(champion.former, "guard", guard.reason, guard.evidence))
        if contest.winner is None:
            return []
        why, evidence = _reason(contest, self._settings.rule)
        decision = self._decision(contest.winner, "rule", why, evidence)
        return self._alerts.would(decision, self._clock()) if self._served.pinned else self._serve(decision)

    def _decision(self, model: str, by: Literal["rule", "guard"], why: str, evidence: Mapping[str, float]) -> Promoted:
        served = self._served
        return Promoted(model, self._settings.shard, served.follows, by, why, served.champion.model, dict(evidence))

    def _serve(self, decision: Promoted) -> list[Output]:
        """Make a decision: the contest ends, and the next one has another champion."""
        assert self._contest is not None  # noqa: S101 - it has decided
        state = self._state
        state.decided = Decided(decision.model, decision.before, decision.by, decision.follows)
        if decision.by == "guard":
            state.returned += 1
            epoch = self._contest.places.epochs.get(decision.before, -1)
            state.barred[name_of(decision.before)] = max(epoch, state.promoted_epoch)
        else:
            state.promoted += 1
            state.promoted_epoch = self._contest.places.epochs.get(decision.model, -1)
        self._served = self._serving.now(state.decided)
        self._contest = self._new_contest()
        key, value = decision.key.encode(), ModelUpdate(self._clock(), decision).encode()
        cleared = self._alerts.contest_begins(self._clock())
        # The history first, as with a person's decision.
        records = [Output(self._settings.names.topic(kind), 0, key, value) for kind in ("decisions", "models")]
        return [*records, *cleared, *self._alerts.decided(decision, self._clock())]

    # --- offsets, shutdown -------------------------------------------------------------------------

    def places(self, read: Positions) -> Mapping[Partition, CommittedOffset]:
        if self._contest is None:
            return {}
        if self._stale:
            self._note(self._contest)
        self._state.alerts = self._alerts.remembered()
        text = self._state.encode()
        return {place: CommittedOffset(offset, text) for place, offset in read.items() if place == self._partition}

    def _note(self, contest: Contest) -> None:
        """Bring the metadata up to date with the contest."""
        state, places = self._state, contest.places
        state.contest_of = self._contest_of()
        state.contest, state.guard = places.contest, places.guard
        state.epochs = {name_of(model): epoch for model, epoch in places.epochs.items()}
        state.champion = name_of(contest.champion.model)
        state.pinned = self._served.pinned
        state.would = "" if contest.winner is None else name_of(contest.winner)
        state.needed, state.at_least = self._settings.rule.labels, self._settings.rule.at_least
        state.standings = [each.brief() for each in contest.standings()]
        state.waiting = contest.waiting
        self._stale = False

    def committed(self, places: Mapping[Partition, CommittedOffset]) -> None:
        for place, committed in places.items():
            self._memory.remember(self._topic, self._topic_id, {place.partition: committed.offset})

    def paused(self) -> frozenset[Partition]:
        return frozenset()

    def stopping(self) -> list[Output]:
        return []

    def close(self) -> None:
        """Save the topic and the offset read so far."""
        self._memory.write()


def _reason(contest: Contest, rule: Rule) -> tuple[str, dict[str, float]]:
    """Return why the winner of a contest is to be promoted, and the figures."""
    standing = contest.standing(str(contest.winner))
    figures = {
        "mean": standing.mean,
        "low": standing.low,
        "high": standing.high,
        "champion_loss": standing.champion_loss,
        "challenger_loss": standing.challenger_loss,
    }
    evidence = {name: value for name, value in figures.items() if value is not None}
    evidence |= {"labels": float(standing.labels), "at_least": rule.at_least, "alpha": rule.alpha}
    why = (
        f"its mean loss ({rule.loss.kind}) over {standing.labels:,} labelled events is "
        f"{standing.challenger_loss:.4g} instead of {standing.champion_loss:.4g}; the difference is at least "
        f"{standing.low:.4g} (alpha {rule.alpha:g}), and the rule asks for more than {rule.at_least:g}"
    )
    return why, evidence
