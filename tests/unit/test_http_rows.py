"""Requests with many rows: a slow model delays nobody else, and each row says whether it was logged."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from unit.http_site import Make, Raises, Site, make

from consumers.model.river_model import wrap
from consumers.predictor.predictor import ServedVersion
from runtime.exits import Doubt
from schemas.events import Event
from server.answering.pacing import LARGEST_SLICE, Overloaded, Pacing
from server.spool.spool import SpoolLimits

__all__ = ["make"]

EVENT = Event("a", 1, {"x": 1.0, "y": 2.0})


class _Slow(Raises):
    def __init__(self, pause: Callable[[], object]) -> None:
        self._pause = pause
        self.threads: set[str] = set()

    def predict_one(self, features: dict[str, float]) -> float:
        self.threads.add(threading.current_thread().name)
        self._pause()
        return super().predict_one(features)


def version(model: Any, *, apart: bool = False) -> ServedVersion:
    return ServedVersion(wrap(model, "regression"), "fraud", 3, 81_000, 0, None, apart=apart)


def test_while_a_model_in_its_own_process_works_others_are_answered(make: Make) -> None:
    site: Site = make()
    go_on = threading.Event()
    model = _Slow(go_on.wait)
    site.versions.serving = version(model, apart=True)
    rows = [{"event_id": f"r{n}", "features": {"x": 1, "y": n}} for n in range(100)]

    async def two_clients() -> Any:
        large = asyncio.create_task(site.request({"events": rows}))
        label = await site.request({"event_id": "b", "value": 1}, "/v1/labels")
        assert label.status == 202
        assert not large.done()
        go_on.set()
        return await large

    answered = asyncio.run(two_clients())
    assert [each["event_id"] for each in answered.json["answers"]] == [f"r{n}" for n in range(100)]
    assert all(name.startswith("ask") for name in model.threads)


def test_a_slow_version_moves_to_the_thread_and_is_asked_in_small_slices(make: Make) -> None:
    site: Site = make()
    clock = [0.0]

    def pause(seconds: float) -> Callable[[], object]:
        return lambda: clock.__setitem__(0, clock[0] + seconds)

    pacing = Pacing(site.answerer, clock=lambda: clock[0], work=lambda: clock[0])
    slow, quick = version(_Slow(pause(0.01))), version(_Slow(pause(0.00001)))
    for _ in range(3):
        assert pacing.at_once([EVENT], slow) is not None
    assert pacing.at_once([EVENT], slow) is None
    assert len(asyncio.run(pacing.answer([EVENT], slow))) == 1
    assert pacing.slice(slow) < 4
    assert pacing.at_once([EVENT], quick) is None, "a new version is expected to be as slow"
    pacing = Pacing(site.answerer, clock=lambda: clock[0])
    for seconds in [1.0] + [0.00001] * 100:
        quick.model.model._pause = pause(seconds)
        assert pacing.at_once([EVENT], quick) is not None
    assert pacing.slice(quick) == LARGEST_SLICE


def test_a_version_that_was_slow_with_the_machine_alone_comes_back_from_the_thread(make: Make) -> None:
    site: Site = make()
    clock = [0.0]
    pacing = Pacing(site.answerer, clock=lambda: clock[0], work=lambda: clock[0])
    model = _Slow(lambda: clock.__setitem__(0, clock[0] + 0.01))
    asked = version(model)

    async def ask(times: int) -> None:
        for _ in range(times):
            await pacing.answer([EVENT], asked)

    asyncio.run(ask(4))
    assert pacing.at_once([EVENT], asked) is None
    model._pause = lambda: clock.__setitem__(0, clock[0] + 0.00001)
    asyncio.run(ask(63))
    assert pacing.at_once([EVENT], asked) is None, "63 quick answers may be luck"
    asyncio.run(ask(1))
    assert pacing.at_once([EVENT], asked) is not None


def test_a_version_that_waits_moves_to_the_thread_only_if_it_always_does(make: Make) -> None:
    site: Site = make()
    clock = [0.0]
    pacing = Pacing(site.answerer, clock=lambda: clock[0], work=lambda: 0.0)
    model = _Slow(lambda: clock.__setitem__(0, clock[0] + 0.01))
    asked = version(model)
    for _ in range(23):
        assert pacing.at_once([EVENT], asked) is not None
    model._pause = lambda: None
    assert pacing.at_once([EVENT], asked) is not None
    model._pause = lambda: clock.__setitem__(0, clock[0] + 0.01)
    for _ in range(24):
        assert pacing.at_once([EVENT], asked) is not None
    assert pacing.at_once([EVENT], asked) is None


def test_a_new_request_is_refused_early_if_many_events_wait_for_a_slow_version(make: Make) -> None:
    site: Site = make()
    pacing = Pacing(site.answerer)
    go_on = threading.Event()
    slow = version(_Slow(go_on.wait), apart=True)

    async def many() -> None:
        waiting = asyncio.create_task(pacing.answer([EVENT] * 10_000, slow))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="10000 events wait"):
            pacing.require_room(slow)
        go_on.set()
        await waiting
        pacing.require_room(slow)

    asyncio.run(many())


def test_a_version_whose_process_has_ended_ends_the_worker(make: Make) -> None:
    site: Site = make()

    def gone() -> None:
        raise Doubt("the process that answers has ended (-9): restarting")

    failed: list[BaseException] = []
    pacing = Pacing(site.answerer, failed.append)
    site.pacing = pacing
    site.versions.serving = version(_Slow(gone), apart=True)
    said = site.one({"features": {"x": 1, "y": 2}})
    assert (said.status, said.code) == (503, "not-ready")
    assert isinstance(failed[0], Doubt)
    assert site.entries() == []


def test_rows_that_find_the_spool_full_are_named_and_the_others_have_answers(make: Make) -> None:
    site: Site = make(limits=SpoolLimits(most_bytes=120_000))
    rows = [{"event_id": f"r{n}", "features": {"x": 1, "y": n}} for n in range(1000)]
    said = site.one({"events": rows})
    assert said.status == 200
    answers = said.json["answers"]
    logged = [each["event_id"] for each in answers if "prediction" in each]
    assert 0 < len(logged) < 1000
    assert len(answers) == 1000
    assert {each["error"]["code"] for each in answers if "error" in each} == {"spool-full"}
    assert logged == [each.event.event_id for each in site.predictions()]
    again = [each for each in rows if each["event_id"] in logged]
    retried = site.one({"events": again}).json["answers"]
    assert all(each["repeated"] for each in retried)
    none = site.one({"events": rows[-3:]})
    assert (none.status, none.code, none.headers["retry-after"]) == (503, "spool-full", "1")


def test_labels_that_find_the_spool_full_are_named(make: Make) -> None:
    site: Site = make(limits=SpoolLimits(most_bytes=60_000))
    said = site.one({"labels": [{"event_id": f"r{n}", "value": 1} for n in range(1000)]}, "/v1/labels").json["labels"]
    taken = [each for each in said if each.get("taken")]
    assert len(said) == 1000
    assert 0 < len(taken) == len(site.values("labels")) < 1000
    assert {each["error"]["code"] for each in said if "error" in each} == {"spool-full"}
