"""Learner role: reads examples in the log's order and writes versions.

The offset that it resumes from is in its newest version, not in Kafka: model and offset are one object. The member
that has the log's partition is active; every other member is on standby.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from consumers.learner.active import ActiveLearner, Handover
from consumers.learner.alerts import LearnerAlerts
from consumers.learner.checkpoint_timer import CheckpointPace, CheckpointTimer, wall_ms
from consumers.learner.dead_letters import LearnerLetters
from consumers.learner.decisions import Control
from consumers.learner.offset_metadata import LearnerMetadata, announced_on, not_read
from consumers.learner.standby import StandbyLearner
from consumers.loop.processor import Assignment, Start
from consumers.model.checkpoints import LearnerCheckpoints, Log, NewEpoch, Standing
from consumers.model.upgrade_report import Comparison
from consumers.roles import LEARNER
from model_store import VersionId
from runtime.kafka_client.records import Batch, CommittedOffset, Output, Partition, Positions
from schemas.topics import Names


@dataclass(frozen=True)
class LearnerSettings:
    """Settings of a learner; `role` is ``learner.NAME`` for the learner of a named model.

    Attributes
    ----------
    private
        True if examples may have features whose values are not shown.
    """

    names: Names
    pace: CheckpointPace
    new_epoch: NewEpoch | None = None
    shard: int = 0
    role: str = LEARNER
    private: bool = False


class Learner:
    """The `Processor` of the learner; the module docstring describes it.

    Parameters
    ----------
    say
        Prints one line for the operator.
    """

    def __init__(
        self,
        settings: LearnerSettings,
        checkpoints: LearnerCheckpoints,
        control: Control,
        say: Callable[[str], None] = print,
    ) -> None:
        self._settings = settings
        self._checkpoints = checkpoints
        self._control = control
        self._say = say
        self._examples = settings.names.topic("examples")
        self._partition = Partition(self._examples, settings.shard)
        # These live as long as the process, across assignments.
        self._alerts = LearnerAlerts(settings.names, say, settings.role)
        self._timer = CheckpointTimer(settings.pace)
        self._unadoptable: VersionId | None = None
        self._state: StandbyLearner | ActiveLearner = StandbyLearner()

    @property
    def topics(self) -> Sequence[str]:
        return (self._examples,)

    @property
    def overlaps(self) -> bool:
        return False  # it commits twice a second at most, so there is nothing to gain

    # --- taking over -------------------------------------------------------------------------------

    def assigned(self, assignment: Assignment) -> Mapping[Partition, Start]:
        self._state = StandbyLearner()
        if self._partition not in assignment.committed:
            self._say("waiting: another learner works")
            return {partition: Start(live=assignment.ends[partition]) for partition in assignment.committed}
        self._state, mine = self._activate(assignment)
        return {**not_read(assignment, self._partition, self._say), self._partition: mine}

    def _activate(self, assignment: Assignment) -> tuple[ActiveLearner, Start]:
        """Return the active learner, resumed from the newest good version, and where it begins to read."""
        log = Log(
            assignment.topic_ids[self._examples],
            assignment.beginnings[self._partition],
            assignment.ends[self._partition],
            self._examples,
        )
        adopted = self._control.adopted()
        resumed = self._checkpoints.resume(log, self._settings.new_epoch, self._say, adopted)
        if adopted is not None and adopted.epoch > resumed.epoch:
            self._unadoptable = adopted  # the reason was reported; another attempt would have the same result
        if resumed.note:
            self._say(resumed.note)
        # In a different or truncated log, offsets are assigned again, so the committed offset has no meaning there.
        committed = None if resumed.cut else assignment.committed[self._partition]
        letters = LearnerLetters(
            self._settings.names.topic("dead-letters"), self._settings.role, self._settings.private
        )
        letters.out_before = LearnerMetadata.beside(committed).read
        raised = LearnerMetadata.beside(assignment.committed[self._partition]).alerts
        self._alerts.restore(raised, resumed.learning.learned)
        standing = Standing(resumed.epoch, resumed.offset, log, resumed.parent, resumed.overtakes)
        handover = Handover(
            self._partition,
            resumed.learning,
            standing,
            newest=resumed.manifest or self._checkpoints.write(resumed.learning, standing, "start", wall_ms()),
            comparison=Comparison(self._checkpoints.overtaken(resumed), resumed.manifest),
            committed=committed,
            new_epoch=self._settings.new_epoch,
            unadoptable=self._unadoptable,
        )
        active = ActiveLearner(
            handover,
            self._checkpoints,
            self._control,
            announce_to=announced_on(self._settings.names),
            alerts=self._alerts,
            letters=letters,
            timer=self._timer,
            say=self._say,
        )
        # A process can write a version and then end before it has sent the dead letters of the records it skipped.
        again = letters.out_before if committed is not None and resumed.manifest is not None else resumed.offset
        return active, Start(live=max(min(resumed.offset, again), log.beginning), back=resumed.cut)

    def recover(self, batch: Batch) -> None:
        """Never called, because the offset is in the version."""

    def recovered(self) -> None:
        """Do nothing: there is nothing to recover."""

    # --- what is active or on standby does ---------------------------------------------------------

    def process(self, batch: Batch) -> list[Output]:
        return self._state.process(batch)

    def tick(self, now_ms: int) -> list[Output]:
        return self._state.tick(now_ms)

    def places(self, read: Positions) -> Mapping[Partition, CommittedOffset]:
        return self._state.places(read)

    def committed(self, places: Mapping[Partition, CommittedOffset]) -> None:
        self._state.committed(places)

    def paused(self) -> frozenset[Partition]:
        return self._state.paused()

    def stopping(self) -> list[Output]:
        return self._state.stopping()

    def close(self) -> None:
        """Do nothing: there is nothing to close."""
