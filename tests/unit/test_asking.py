"""Asking: the single events of one turn are asked together, and each has its own answer or failure."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from unit.http_site import Site

from consumers.model.river_model import wrap
from consumers.predictor.predictor import ServedVersion
from schemas.events import Event
from server.answering.answerer import Answerer, Message
from server.answering.asking import Asking
from server.answering.pacing import LARGEST_SLICE, Pacing, VersionGone
from server.spool.spool import Pending


class _Twice:
    def predict_one(self, features: dict[str, float]) -> float:
        return features["x"] * 2


def version(examples: int = 1) -> ServedVersion:
    return ServedVersion(wrap(_Twice(), "regression"), "fraud", 3, examples, 0, None)


def event(number: int) -> Event:
    return Event(f"e{number}", 1, {"x": number / 100, "y": 0.0})


class Noted:
    """The answerer of a site; it notes how many events it was asked at once, and of which versions."""

    def __init__(self, answerer: Answerer) -> None:
        self._answerer = answerer
        self.asked: list[tuple[int, int]] = []
        self.fails_at = ""

    def answer(self, events: Sequence[Event | Message], serving: ServedVersion) -> list[Pending]:
        self.asked.append((serving.examples, len(events)))
        if any(isinstance(each, Event) and each.event_id == self.fails_at for each in events):
            raise ZeroDivisionError(self.fails_at)
        return self._answerer.answer(events, serving)


@pytest.fixture
def noted(tmp_path: Path) -> Noted:
    return Noted(Site(tmp_path).answerer)


def ask(noted: Noted, *asked: tuple[int, ServedVersion]) -> list[Any]:
    """Ask about events in one turn of the event loop; return the answers, or what was raised."""

    async def all_at_once() -> list[Any]:
        asking = Asking(Pacing(noted))  # type: ignore[arg-type]
        tasks = [asking.ask(event(number), serving) for number, serving in asked]
        return await asyncio.gather(*tasks, return_exceptions=True)

    return [
        each.make(number).answer if isinstance(each, Pending) else each
        for number, each in enumerate(asyncio.run(all_at_once()))
    ]


def test_the_events_of_one_turn_are_asked_together_and_each_has_its_own_answer(noted: Noted) -> None:
    serving = version()
    answers = ask(noted, *((number, serving) for number in range(10)))
    assert [f'"event_id":"e{number}","prediction":{number / 50}'.encode() in answers[number] for number in range(10)]
    assert all(f'"event_id":"e{number}"'.encode() in answer for number, answer in enumerate(answers))
    assert all(b'"prediction":0.18' in answer for answer in answers[9:])
    assert noted.asked == [(1, 10)]


def test_many_are_asked_in_slices_and_each_version_is_asked_about_its_own(noted: Noted) -> None:
    old, new = version(1), version(2)
    answers = ask(noted, *((number, old if number < 100 else new) for number in range(130)))
    assert [b'"version":"3/1"' in answer for answer in answers] == [True] * 100 + [False] * 30
    assert [sum(count for examples, count in noted.asked if examples == each) for each in (1, 2)] == [100, 30]
    assert max(count for _, count in noted.asked) <= LARGEST_SLICE


def test_an_error_in_the_code_concerns_its_own_event_alone(noted: Noted) -> None:
    noted.fails_at = "e4"
    serving = version()
    answers = ask(noted, *((number, serving) for number in range(10)))
    assert isinstance(answers[4], ZeroDivisionError)
    assert all(f'"event_id":"e{number}"'.encode() in answers[number] for number in range(10) if number != 4)


def test_a_version_that_is_gone_fails_all_of_the_turn(noted: Noted, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*given: object) -> None:
        raise VersionGone("its process has ended")

    monkeypatch.setattr(Pacing, "at_once", gone)
    assert [type(each) for each in ask(noted, (1, version()), (2, version()))] == [VersionGone, VersionGone]


def test_a_version_that_becomes_slow_in_the_turn_is_asked_in_the_thread(
    noted: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = version()
    monkeypatch.setattr(Pacing, "is_slow", lambda pacing, version: bool(noted.asked))
    answers = ask(noted, *((number, serving) for number in range(40)))
    assert all(f'"event_id":"e{number}"'.encode() in answer for number, answer in enumerate(answers))
    assert len(noted.asked) > 2


def test_a_caller_that_has_gone_hinders_nobody(noted: Noted) -> None:
    async def one_goes() -> Pending:
        asking = Asking(Pacing(noted))  # type: ignore[arg-type]
        serving = version()
        gone, stays = (asyncio.create_task(asking.ask(event(number), serving)) for number in (1, 2))
        await asyncio.sleep(0)
        gone.cancel()
        return await stays

    assert b'"event_id":"e2"' in asyncio.run(one_goes()).make(0).answer
