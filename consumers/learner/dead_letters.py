"""Dead letters of a learner: one for each record it did not learn, however often it reads the record."""

from __future__ import annotations

from consumers.loop.dead_letters import dead_letter
from consumers.model.model_state import LearnerState
from consumers.roles import LEARNER
from runtime.kafka_client.records import Output, Record
from schemas.codec import CodecError
from schemas.fast_examples import EntryReader


class LearnerLetters:
    """Outputs to send beside versions: dead letters, each once, and alerts, which the owner adds.

    Parameters
    ----------
    topic
        Topic of the dead letters.
    role
        The learner's role: each model has dead letters of its own.
    private
        True if examples may have features whose values are not shown.

    Attributes
    ----------
    out_before
        Refused records below this offset already have their dead letter on the topic.
    waiting
        Outputs of the next send.
    """

    def __init__(self, topic: str, role: str = LEARNER, private: bool = False) -> None:
        self._topic = topic
        self._role = role
        self._private = private
        self._reader = EntryReader()
        self._sent: set[int] = set()  # offsets since the newest version that have a dead letter
        self.out_before = 0
        self.waiting: list[Output] = []

    def settle(self) -> None:
        """Forget the sent offsets: from now on a rollback does not learn earlier records again."""
        self._sent.clear()

    def refuse(self, record: Record, code: str, reason: str) -> None:
        """Add the dead letter of a record, unless it has one."""
        if record.offset in self._sent:
            return
        self._sent.add(record.offset)
        if record.offset >= self.out_before:
            letter = dead_letter(self._topic, record, self._role, code, reason, record.timestamp, self._private)
            self.waiting.append(letter)

    def refuse_again(self, record: Record) -> None:
        """Add the dead letter of a record that a rule refused, if the rule is no longer known."""
        self.refuse(record, "refused", "it was refused, as others like it say")

    def catch_up(self, record: Record, learning: LearnerState) -> None:
        """Add the dead letter, if one is due, of a record that is before the offset of the resumed version."""
        try:
            self._reader.read(record.value or b"")
        except CodecError as error:
            self.refuse(record, "codec", str(error))
            return
        if record.offset in learning.skipped:
            self.refuse(record, "model", "it was left out of the model")
        elif record.offset in learning.refused:
            self.refuse_again(record)

    def take(self) -> list[Output]:
        """Return and clear the outputs to send."""
        taken, self.waiting = self.waiting, []
        return taken
