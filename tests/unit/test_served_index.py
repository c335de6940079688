"""The index of a prediction log: which version answered each event of a range."""

from __future__ import annotations

from typing import Any

from millstream.replay.served_versions import ServedIndex
from model_store import VersionId
from schemas.events import Failure, Outcome

TOPIC = "s.features"


def answer(offset: int, examples: int, **more: Any) -> Outcome:
    given = {"epoch": 1, "source_topic": TOPIC, "source_partition": 0, **more}
    return Outcome(
        prediction=True,
        probabilities=None,
        model="s",
        examples=examples,
        predicted_at=0,
        source_offset=offset,
        **given,
    )


def failed(offset: int, **more: Any) -> Outcome:
    return answer(offset, -1, epoch=-1, error=Failure("range", "too large"), **more)


def version(examples: int) -> VersionId:
    return VersionId("s", 1, examples)


def index(*answers: Outcome, otherwise: VersionId | None = None) -> ServedIndex:
    made = ServedIndex(TOPIC, {0: 10, 1: 0}, {0: 20, 1: 5})
    for each in answers:
        made.take(each)
    made.settle(otherwise)
    return made


def test_an_answer_is_found_by_the_place_of_its_event() -> None:
    found = index(answer(10, 5), answer(12, 7), answer(11, 5), answer(3, 9, source_partition=1))
    assert [found.version(0, at) for at in (10, 11, 12, 13)] == [version(5), version(5), version(7), None]
    assert (found.version(1, 3), found.answers, found.versions()) == (
        version(9),
        4,
        [version(5), version(7), version(9)],
    )


def test_what_is_outside_the_range_or_of_another_topic_says_nothing() -> None:
    found = index(answer(9, 5), answer(20, 5), answer(12, 5, source_topic="x"), answer(1, 5, source_partition=7))
    assert (found.answers, found.versions()) == (0, [])


def test_of_several_answers_to_one_event_the_first_counts() -> None:
    assert index(answer(12, 5), answer(12, 8)).version(0, 12) == version(5)


def test_an_error_counts_as_given_by_the_version_before_it_and_the_first_by_the_one_after() -> None:
    found = index(failed(10), answer(11, 5), failed(13), answer(14, 6), failed(15))
    wanted = [version(5), version(5), None, version(5), version(6), version(6), None]
    assert [found.version(0, at) for at in range(10, 17)] == wanted


def test_of_what_is_left_of_a_range_only_the_versions_that_answered_that_are_needed() -> None:
    found = index(answer(10, 5), answer(11, 6), failed(12), answer(13, 7), answer(1, 8, source_partition=1))
    assert found.version(0, 12) == version(6)
    assert found.versions({0: 12, 1: 2}) == [version(6), version(7)]
    assert found.versions({0: 20, 1: 5}) == []


def test_errors_alone_are_asked_of_what_serves_now() -> None:
    found = index(failed(10), failed(2, source_partition=1), otherwise=version(3))
    assert (found.version(0, 10), found.version(1, 2), found.versions()) == (version(3), version(3), [version(3)])
    assert index(failed(10)).version(0, 10) is None


def test_a_partition_of_the_log_is_read_no_further_than_the_range() -> None:
    found = index()
    assert [found.passed(answer(at, 5)) for at in (9, 19, 20)] == [None, None, 0]
    assert found.passed(answer(99, 5, source_topic="x")) is None


def test_an_answer_to_what_is_not_there_yet_tells_that_an_older_topic_had_the_name() -> None:
    found = index(answer(30, 5), answer(3, 5, source_partition=1), answer(99, 5, source_topic="x"))
    assert [found.beyond(ends) for ends in ({0: 31, 1: 4}, {0: 30, 1: 4}, {0: 31})] == [False, True, True]
