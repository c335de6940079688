"""A learner's dead letters: one for each record that it did not learn, however often that is read again."""

from __future__ import annotations

from consumers.loop.dead_letters import dead_letter
from consumers.model.model_state import LearnerState
from consumers.roles import LEARNER
from runtime.kafka_client.records import Output, Record
from schemas.codec import CodecError
from schemas.fast_examples import EntryReader


class LearnerLetters:
    """What is to be sent beside versions: dead letters, each once, and alerts, which its owner puts in.

    Parameters
    ----------
    topic
        Of the dead letters.

    Attributes
    ----------
    out_before
        Below this offset, what was refused is among the dead letters.
    waiting
        What is sent next.
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._reader = EntryReader()
        self._sent: set[int] = set()  # offsets since the newest version that have a letter
        self.out_before = 0
        self.waiting: list[Output] = []

    def settle(self) -> None:
        """There is a way back that no earlier record is learned by again."""
        self._sent.clear()

    def refuse(self, record: Record, code: str, reason: str) -> None:
        """Write a record off, unless it has been."""
        if record.offset in self._sent:
            return
        self._sent.add(record.offset)
        if record.offset >= self.out_before:
            self.waiting.append(dead_letter(self._topic, record, LEARNER, code, reason, record.timestamp))

    def refuse_again(self, record: Record) -> None:
        """Write off what the rules have refused, where by which is not known any more."""
        self.refuse(record, "refused", "it was refused, as others like it say")

    def catch_up(self, record: Record, learning: LearnerState) -> None:
        """Write off, if it is to be, a record that the version resumed from has in it."""
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
        """Return what is to be sent, and forget it."""
        taken, self.waiting = self.waiting, []
        return taken
