"""Age of the version that answered: from its announcement to its answer, both by the broker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from consumers.monitor import version_ages
from consumers.monitor.version_ages import VersionAges
from model_store import VersionId
from runtime.kafka_client.records import PlainRecord, Record
from schemas.events import Failure, Outcome
from schemas.model_updates import ModelUpdate, Published, Serving

BEGIN = 1_000_000_000_000


class Topic:
    """A models topic, of which more is there each time that it is read."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.reads = 0
        self._next = 0

    def announce(self, time: int, examples: int, epoch: int = 1, model: str = "fraud") -> None:
        self._write(time, Published(model, 0, epoch, examples, "t", 5, "0" * 64, 0, 0, {}))

    def _write(self, time: int, state: Published | Serving) -> None:
        key, value = state.key.encode(), ModelUpdate(1, state).encode()
        self.records.append(PlainRecord("models", 0, len(self.records), BEGIN + time, key, value))

    def announced(self) -> Iterator[Record]:
        self.reads += 1
        begin, self._next = self._next, len(self.records)
        yield from self.records[begin : self._next]


def outcome(examples: int, epoch: int = 1, model: str = "fraud", error: Failure | None = None) -> Outcome:
    return Outcome(True, None, model, epoch, examples, 0, "f", 0, 0, error)


def ages(topic: Topic, made: dict[VersionId, int] | None = None) -> VersionAges:
    return VersionAges(topic, {}.get if made is None else made.get)


def test_it_is_the_time_since_the_version_was_announced_first() -> None:
    topic = Topic()
    topic.announce(0, 100)
    topic.announce(500, 200)
    topic.announce(900, 100)  # a learner that has started again says so again
    topic.announce(950, 100, model="fraud.forest")
    found = ages(topic).of([outcome(100), outcome(200), outcome(100, model="fraud.forest")], [BEGIN + 1000] * 3)
    assert found == [1000, 500, 50]


def test_an_answer_of_no_version_has_none_and_one_of_an_unknown_version_neither() -> None:
    assert ages(Topic()).of([outcome(-1, epoch=-1), outcome(7)], [BEGIN, BEGIN]) == [None, None]


def test_a_version_whose_announcement_is_gone_is_as_old_as_the_store_says() -> None:
    made = {VersionId("fraud", 1, 100): BEGIN - 5000}
    assert ages(Topic(), made).of([outcome(100)], [BEGIN]) == [5000]


def test_a_clock_that_is_behind_makes_no_negative_age() -> None:
    topic = Topic()
    topic.announce(10, 100)
    assert ages(topic).of([outcome(100)], [BEGIN]) == [0]


def test_the_topic_is_read_only_for_versions_that_are_not_known_yet() -> None:
    topic = Topic()
    topic.announce(0, 100)
    found = ages(topic)
    for time in range(100):
        found.of([outcome(100)] * 10, [BEGIN + time] * 10)
    assert topic.reads == 1
    topic.announce(100, 200)
    assert found.of([outcome(200)], [BEGIN + 150]) == [50]
    assert topic.reads == 2


def test_a_version_that_nobody_knows_may_be_found_later() -> None:
    """The store may not answer for a while."""
    topic, made = Topic(), dict[VersionId, int]()
    found = ages(topic, made)
    assert found.of([outcome(100)], [BEGIN]) == [None]
    made[VersionId("fraud", 1, 100)] = BEGIN - 10
    assert found.of([outcome(100)], [BEGIN]) == [10]


def test_records_that_are_no_announcements_are_passed_over() -> None:
    topic = Topic()
    topic._write(0, Serving("fraud", 0, 1, 100, "ann", "why"))
    topic.records.append(PlainRecord("models", 0, 1, BEGIN, b"published/fraud/0", b"nonsense"))
    topic.records.append(PlainRecord("models", 0, 2, BEGIN, b"published/fraud/0", None))
    topic.announce(10, 100)
    assert ages(topic).of([outcome(100)], [BEGIN + 30]) == [20]


def test_old_announcements_are_given_up_beyond_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version_ages, "MOST_VERSIONS", 10)
    topic = Topic()
    for number in range(100):
        topic.announce(number, number, epoch=1 + number // 50)
    found = ages(topic)
    newest = found.of([outcome(99, epoch=2), outcome(0)], [BEGIN + 100] * 2)
    assert newest == [1, None]
    assert found.known <= 10
