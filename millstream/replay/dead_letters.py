"""Replay of dead letters: sends each back to the topic it came from, once.

What came over HTTP goes to the stream's topic that takes it.

One transaction sends a letter's record and writes a note about it on the dead-letters topic itself, so the note is kept
as long as the letter. So after any crash the next run knows which letters were sent. It first waits until it can read
everything that was on the topic when it began, because an open transaction of another process may hide a note.
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
from millstream.replay.http_letters import came_over_http, kind_of, unfit
from runtime.kafka_client import size_limits
from runtime.kafka_client.client import Consumer
from runtime.kafka_client.cluster import TopicInfo
from runtime.kafka_client.partitioner import hashed
from runtime.kafka_client.records import Output, Partition
from runtime.kafka_client.transaction import Transactions
from schemas.codec import CodecError
from schemas.dead_letters import DeadLetter, read_dead_letter
from schemas.topics import Names

if TYPE_CHECKING:
    from runtime.kafka_client.cluster import Cluster

_LETTERS: Final = 500  # a transaction
_BYTES: Final = 4 << 20
_OPEN_SECONDS: Final = 30.0  # the roles' own transactions end after 10 s
_LOOK_SECONDS: Final = 0.1


class HeldBack(Exception):  # noqa: N818
    """An open transaction on the dead letters hides which ones were sent before; nothing was sent."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Selection of letters; an empty attribute means any.

    Attributes
    ----------
    keys
        Keys as text, as they are displayed.
    offsets
        Offsets of the letters on the dead-letters topic.
    again
        Include letters that were sent before.
    elsewhere
        Include letters that came from external topics.
    """

    codes: Collection[str] = ()
    stages: Collection[str] = ()
    keys: Collection[str] = ()
    offsets: Collection[int] = ()
    again: bool = False
    elsewhere: bool = False

    def means(self, letter: DeadLetter, offset: int) -> bool:
        """Return whether a letter is selected."""
        key = None if letter.key is None else letter.key.decode(errors="backslashreplace")
        pairs = ((self.codes, letter.code), (self.stages, letter.stage), (self.keys, key), (self.offsets, offset))
        return all(not wanted or value in wanted for wanted, value in pairs)


@dataclass
class LettersToReplay:
    """Letters to send back.

    Attributes
    ----------
    ready
        Number of letters by (topic they go to, stage, code).
    sent
        Number of letters that were sent back before.
    kept
        Reasons why other letters stay, with their numbers.
    """

    ready: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    sent: int = 0
    kept: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        """Return the number of letters to send."""
        return self.ready.total()


class Letters:
    """The dead letters of a stream, and the exclusive right to send them back. Use it in a `with` block.

    Another process that sends letters is fenced and its open transaction is aborted before anything is read.
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
        """Close the clients and give up the right to send."""
        self._transactions.close()
        self._consumer.close()

    def _know(self) -> None:
        """Read the letters, and the notes of those that were sent before."""
        with closing(self._cluster.consumer()) as consumer:
            self._begin, self._end = topic_readers.begin(consumer, self._topic), self._settled_end(consumer)
        self._sent = {
            offset
            for record in topic_readers.between(self._consumer, self._place, self._begin, self._end)
            for offset in replayed(record) or ()
        }

    def _settled_end(self, consumer: Consumer) -> int:
        """Wait until everything now on the topic can be read, including notes of earlier runs; return its end."""
        with closing(self._cluster.consumer(isolation_level="read_uncommitted")) as all_of_it:
            there = topic_readers.end(all_of_it, self._topic)
        deadline = time.monotonic() + _OPEN_SECONDS
        while (end := topic_readers.end(consumer, self._topic)) < there:
            if time.monotonic() > deadline:
                raise HeldBack(
                    f"a transaction has been open on {self._topic} for {_OPEN_SECONDS:g} s, at offset {end}; which "
                    "letters were sent before cannot be known until it ends: the broker ends it after its "
                    "transaction.timeout.ms, then run the same command again"
                )
            time.sleep(_LOOK_SECONDS)
        return end

    def look(self) -> LettersToReplay:
        """Return which letters would be sent back, and which stay."""
        found = LettersToReplay()
        for offset, letter in self._chosen():
            if offset in self._sent and not self._choice.again:
                found.sent += 1
            elif why := self._stays(letter):
                found.kept[why] += 1
            else:
                found.ready[self._target(letter), letter.stage, letter.code] += 1
        return found

    def send(self, progress: Callable[[int], None] = lambda sent: None) -> int:
        """Send the letters; return their number. Raises RoleFailure if the result is unknown; a new run continues."""
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
            self._transactions.commit([*(output for _, output in batch), note])
        return len(batch)

    def _chosen(self) -> Iterator[tuple[int, DeadLetter]]:
        for record in topic_readers.between(self._consumer, self._place, self._begin, self._end):
            if record.value is None:
                continue
            try:
                letter = read_dead_letter(record.value)
            except CodecError:
                continue  # any client can write there; an invalid letter has no origin
            if self._choice.means(letter, record.offset):
                yield record.offset, letter

    def _stays(self, letter: DeadLetter) -> str:
        """Return why a letter cannot be sent back, with the solution; empty if it can."""
        names = self._names
        if letter.topic == names.topic("examples"):
            return "examples are history, which is learned once: `millstream models rebuild` rebuilds a model from it"
        cut = len(letter.value or b"") >= size_limits.LETTER or len(letter.key or b"") >= size_limits.BESIDE
        if cut or letter.reason.endswith(HEADERS_LEFT_OUT):
            return "too large to be complete in their letters: `millstream replay` takes them from their own topic"
        target, own = self._target(letter), set(map(names.topic, names.own))
        if why := unfit(letter, target, is_own=target in own):
            return why
        if target not in own and not self._choice.elsewhere:
            return f"{target} is an external topic whose other readers would see them twice: --elsewhere sends them"
        if self._info(target) is None:
            return f"there is no topic {target} any more"
        return ""

    def _target(self, letter: DeadLetter) -> str:
        """Return the topic that a letter's record goes to."""
        if not came_over_http(letter.topic):
            return letter.topic
        return self._names.topic(kind_of(letter.value) or "features")

    def _info(self, topic: str) -> TopicInfo | None:
        if topic not in self._topics:
            self._topics |= self._cluster.topic_info(topic) or {topic: TopicInfo("", 0)}
        found = self._topics[topic]
        return found if found.partitions else None

    def _back(self, letter: DeadLetter) -> Output:
        """Return the original record with the current time: with its old time, retention could delete it at once."""
        target = self._target(letter)
        info = self._info(target)
        assert info is not None  # noqa: S101 - letters without a topic are not sent
        partition = letter.partition
        if partition >= info.partitions or target != letter.topic:
            partition = partition % info.partitions if letter.key is None else hashed(letter.key, info.partitions)
        headers: Any = letter.headers  # Kafka too allows a header value of None
        return Output(target, partition, letter.key, letter.value, headers)
