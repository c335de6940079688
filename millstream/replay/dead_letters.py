"""Dead letters sent back to where they came from, once each.

A letter's record and a note that it was sent go out in one transaction, the note onto the dead-letters topic itself: it
is there for as long as the letter is. Whatever ends the process, the next run knows what has been sent: it waits until
all that stood on the topic when it began can be read, for a transaction of somebody else may hold back a note.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from consumers.loop.dead_letters import HEADERS_LEFT_OUT, note_replayed, replayed
from millstream.reading import topic_readers
from runtime.kafka_client import size_limits
from runtime.kafka_client.client import Consumer
from runtime.kafka_client.cluster import TopicInfo
from runtime.kafka_client.partitioner import hashed
from runtime.kafka_client.records import Output, Partition
from runtime.kafka_client.transaction import Transactions
from schemas.codec import CodecError
from schemas.events import DeadLetter, read_dead_letter
from schemas.topics import Names

if TYPE_CHECKING:
    from runtime.kafka_client.cluster import Cluster

_LETTERS: Final = 500  # a transaction
_BYTES: Final = 4 << 20
_OPEN_SECONDS: Final = 30.0  # transactions of our roles are ended after 10
_LOOK_SECONDS: Final = 0.1


class HeldBack(Exception):  # noqa: N818
    """A transaction is open on the dead letters, so that what was sent before cannot be known; nothing was sent."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which letters are meant; of what is empty, any.

    Attributes
    ----------
    keys
        As they are shown: as text.
    offsets
        Of the letters, on their own topic.
    again
        Also those that were sent before.
    elsewhere
        Also those that came from somebody else's topics.
    """

    codes: Collection[str] = ()
    stages: Collection[str] = ()
    keys: Collection[str] = ()
    offsets: Collection[int] = ()
    again: bool = False
    elsewhere: bool = False

    def means(self, letter: DeadLetter, offset: int) -> bool:
        """Tell whether a letter is among them."""
        key = None if letter.key is None else letter.key.decode(errors="backslashreplace")
        pairs = ((self.codes, letter.code), (self.stages, letter.stage), (self.keys, key), (self.offsets, offset))
        return all(not wanted or value in wanted for wanted, value in pairs)


@dataclass
class LettersToReplay:
    """What there is to send back.

    Attributes
    ----------
    ready
        How many letters, by (topic they came from, stage, code).
    sent
        Were sent back before.
    kept
        Why others stay, and how many.
    """

    ready: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    sent: int = 0
    kept: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        """How many letters would go."""
        return self.ready.total()


class Letters:
    """The dead letters of a stream, and the right to send them back. Use it in a `with` block.

    Whoever else was at it is stopped, and what they left open is ended, before anything is read.
    """

    def __init__(self, cluster: Cluster, names: Names, choice: Choice) -> None:
        self._names = names
        self._cluster = cluster
        self._choice = choice
        self._topic = names.topic("dead-letters")
        self._place = Partition(self._topic, 0)
        self._topics: dict[str, TopicInfo] = {}
        self._transactions = Transactions(cluster, names.process("dead-letters", "replay"))
        try:
            self._transactions.open()
            self._consumer = cluster.consumer()
        except BaseException:
            self._transactions.close()
            raise

    def __enter__(self) -> Letters:
        try:
            self._know()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the clients, and of the right to send."""
        self._transactions.close()
        self._consumer.close()

    def _know(self) -> None:
        """Find out what there is, and what of it was sent before."""
        with closing(self._cluster.consumer()) as consumer:
            self._begin, self._end = topic_readers.begin(consumer, self._topic), self._settled_end(consumer)
        self._sent = {
            offset
            for record in topic_readers.between(self._consumer, self._place, self._begin, self._end)
            for offset in replayed(record) or ()
        }

    def _settled_end(self, consumer: Consumer) -> int:
        """Return the end of what can be read, once that is all that is there now: notes of earlier runs are in it."""
        with closing(self._cluster.consumer(isolation_level="read_uncommitted")) as all_of_it:
            there = topic_readers.end(all_of_it, self._topic)
        deadline = time.monotonic() + _OPEN_SECONDS
        while (end := topic_readers.end(consumer, self._topic)) < there:
            if time.monotonic() > deadline:
                raise HeldBack(
                    f"a transaction has been open on {self._topic} for {_OPEN_SECONDS:g} s, at offset {end}; which "
                    "letters were sent before cannot be known until it ends: the broker ends it after its "
                    "transaction.timeout.ms, then say the same again"
                )
            time.sleep(_LOOK_SECONDS)
        return end

    def look(self) -> LettersToReplay:
        """Say what there is to send back, and what stays."""
        found = LettersToReplay()
        for offset, letter in self._chosen():
            if offset in self._sent and not self._choice.again:
                found.sent += 1
            elif why := self._stays(letter):
                found.kept[why] += 1
            else:
                found.ready[letter.topic, letter.stage, letter.code] += 1
        return found

    def send(self, progress: Callable[[int], None] = lambda sent: None) -> int:
        """Send them; returns how many. RoleFailure where it is not certain what arrived: the same again goes on."""
        batch: list[tuple[int, Output]] = []
        size = count = 0
        for offset, letter in self._chosen():
            if (offset in self._sent and not self._choice.again) or self._stays(letter):
                continue
            batch.append((offset, self._back(letter)))
            size += len(letter.value or b"")
            if len(batch) >= _LETTERS or size >= _BYTES:
                count += self._commit(batch)
                batch, size = [], 0
                progress(count)
        return count + self._commit(batch)

    def _commit(self, batch: list[tuple[int, Output]]) -> int:
        if batch:
            note = note_replayed(self._topic, [offset for offset, _ in batch])
            self._transactions.commit([*(output for _, output in batch), note], {}, None)
        return len(batch)

    def _chosen(self) -> Iterator[tuple[int, DeadLetter]]:
        for record in topic_readers.between(self._consumer, self._place, self._begin, self._end):
            if record.value is None:
                continue
            try:
                letter = read_dead_letter(record.value)
            except CodecError:
                continue  # anyone may write there; what is no letter came from nowhere
            if self._choice.means(letter, record.offset):
                yield record.offset, letter

    def _stays(self, letter: DeadLetter) -> str:
        """Return why a letter cannot go back, with the way on; empty where it can."""
        names = self._names
        if letter.topic == names.topic("examples"):
            return "examples are history, which is learned once: `millstream models rebuild` makes a model of it anew"
        cut = len(letter.value or b"") >= size_limits.LETTER or len(letter.key or b"") >= size_limits.BESIDE
        if cut or letter.reason.endswith(HEADERS_LEFT_OUT):
            return "too large to be whole in their letters: `millstream replay` takes them from their own topic"
        own = set(map(names.topic, names.own))
        if letter.topic not in own and not self._choice.elsewhere:
            return f"{letter.topic} is somebody else's, whose other readers would see them twice: say --elsewhere to"
        if self._info(letter.topic) is None:
            return f"there is no topic {letter.topic} any more"
        return ""

    def _info(self, topic: str) -> TopicInfo | None:
        if topic not in self._topics:
            self._topics |= self._cluster.topic_info(topic) or {topic: TopicInfo("", 0)}
        found = self._topics[topic]
        return found if found.partitions else None

    def _back(self, letter: DeadLetter) -> Output:
        """Return the record as it was, at the time of now: with an old one retention could take it at once."""
        info = self._info(letter.topic)
        assert info is not None  # noqa: S101 - it would stay otherwise
        partition = letter.partition
        if partition >= info.partitions:
            partition = partition % info.partitions if letter.key is None else hashed(letter.key, info.partitions)
        headers: Any = letter.headers  # a value of None is Kafka's, too
        return Output(letter.topic, partition, letter.key, letter.value, headers)
