"""Groups of served answers by decision: the one in force at the prediction, whenever it is read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from test_served_sums import binary, rules, served
from unit.test_decisions_in_force import person, rule

from consumers.monitor.served import DecidedBy, ServedSums
from consumers.monitor.served.decided import NEWEST
from consumers.monitor.served.groups import decoded
from runtime.kafka_client.records import PlainRecord, Record
from schemas.model_updates import ModelUpdate, Published

BEGIN = 1_000_000_000_000


class Log:
    """The decisions topic, and a models topic that is compacted to the last record of each key."""

    def __init__(self, *updates: tuple[int, ModelUpdate]) -> None:
        self._records: list[Record] = [
            PlainRecord("decisions", 0, offset, BEGIN + time, update.state.key.encode(), update.encode())
            for offset, (time, update) in enumerate(updates)
        ]
        self.end = len(updates)
        self._next = 0

    def current(self) -> Iterator[Record]:
        yield from {record.key: record for record in self._records[: self.end]}.values()

    def seek(self, time: int) -> None:
        self._next = next((n for n, each in enumerate(self._records[: self.end]) if each.timestamp >= time), self.end)

    def before(self) -> Iterator[Record]:
        yield from reversed(self._records[: self._next])

    def further(self) -> Iterator[Record]:
        begin, self._next = self._next, self.end
        yield from self._records[begin : self.end]


PIN = person("fraud", 3, 81_000)
PROMOTED = rule("fraud.forest", PIN)
UNPIN = person("fraud")
ANNOUNCED = ModelUpdate(1, Published("fraud", 0, 1, 5, "t", 5, "0" * 64, 0, 0, {}))
HISTORY = ((10, PIN), (15, ANNOUNCED), (20, PROMOTED), (30, UNPIN), (40, ANNOUNCED))
EXPECTED = {
    5: NEWEST,
    10: NEWEST,
    11: "main 3/81000 pinned",
    20: "main 3/81000 pinned",
    25: "forest promoted by the rule",
    35: NEWEST,
    99: NEWEST,
}


@pytest.mark.parametrize("since", [0, 12, 22, 33, 50])
def test_the_decision_before_the_prediction_counts_wherever_reading_begins(since: int) -> None:
    decided = DecidedBy(Log(*HISTORY), wait_ms=0)
    decided.cover(BEGIN + since, BEGIN + 100)
    assert {time: decided.at(BEGIN + time) for time in EXPECTED if time > since} == {
        time: said for time, said in EXPECTED.items() if time > since
    }


def test_decisions_that_come_later_are_read_when_examples_are_as_late() -> None:
    log = Log(*HISTORY)
    log.end = 1
    decided = DecidedBy(log, wait_ms=100)
    decided.cover(BEGIN + 5, BEGIN + 12)
    assert decided.at(BEGIN + 11) == EXPECTED[11]
    log.end = len(HISTORY)
    decided.cover(BEGIN + 12, BEGIN + 12)
    assert decided.at(BEGIN + 25) == EXPECTED[11], "nothing newer was asked for"
    decided.cover(BEGIN + 12, BEGIN + 60)
    assert [decided.at(BEGIN + time) for time in (11, 25, 35)] == [EXPECTED[time] for time in (11, 25, 35)]


@pytest.mark.parametrize("begin", [0, 20])
def test_examples_that_come_long_after_their_predictions_have_the_decision_of_then(begin: int) -> None:
    """A joiner that was away writes them much later than the label wait, and the monitor may begin after that."""
    log = Log(*((time * 1000, update) for time, update in HISTORY))
    sums = ServedSums(rules("binary", decided=DecidedBy(log, wait_ms=0)))
    late = [served(number, True, True, None, delay=0) for number in range(begin, 30)]
    sums.add(late, [BEGIN + 1_000_000 + number for number in range(len(late))])
    found = {value: each.labels for (facet, value), each in decoded(sums.finish()[0]).items() if facet == "decision"}
    assert found["forest promoted by the rule"] == 9
    assert found.get("main 3/81000 pinned", 0) == (10 if begin == 0 else 1)


def test_served_answers_are_grouped_by_it() -> None:
    examples = [served(number, True, True, None, delay=0) for number in range(60)]  # one a second
    log = Log(*((time * 1000, update) for time, update in HISTORY))
    sums = ServedSums(rules("binary", decided=DecidedBy(log, wait_ms=0)))
    sums.add(examples, [each.joined.label_time for each in examples])  # type: ignore[union-attr]
    groups, _ = sums.finish()
    found = {value: each.labels for (facet, value), each in decoded(groups).items() if facet == "decision"}
    assert found == {NEWEST: 11 + 29, "main 3/81000 pinned": 10, "forest promoted by the rule": 10}
    without = ServedSums(rules("binary"))
    without.add(binary(5), [BEGIN] * 5)
    assert not any("decision" in each.by for each in without.finish()[0])
