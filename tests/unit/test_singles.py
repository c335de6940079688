"""Single events: answered together, and exactly as their handler answers each alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.http_site import Site, make, site
from unit.rsgi import Protocol

from consumers.predictor.predictor import ServedVersion
from schemas.events import Event
from server.answering import answerer, made_ids
from server.answering.answerer import Message
from server.answering.pacing import LARGEST_SLICE, Pacing
from server.spool.spool import Pending, SpoolLimits
from server.web import predict, singles

__all__ = ["make", "site"]

NOW = 1_700_000_000_000
SMALL = st.one_of(
    st.floats(-20, 20), st.integers(-12, 12), st.sampled_from([7, 1e-7, 1e300, 2**64, None, True, "a", [1.0], {}])
)
FEATURES = st.dictionaries(st.sampled_from(["x", "y", "z"]), SMALL, max_size=3)
# `made-0-0` is the id that the first event gets if it has none: its caller may send it again.
IDS = st.sampled_from(["a", "b", "made-0-0", "", "ü", "a b", "c" * 1024, "c" * 1025, None, 3])
TIMES = st.sampled_from([0, 1, NOW, NOW + 2 * 24 * 3600 * 1000, -1, "now"])
EVENTS = st.fixed_dictionaries(
    {"features": FEATURES},
    optional={"event_id": IDS, "event_time": TIMES, "entity_key": st.sampled_from(["k", None]), "events": st.just([])},
)
BODIES = st.one_of(
    EVENTS.map(lambda event: json.dumps(event).encode()),
    st.fixed_dictionaries({"features": st.fixed_dictionaries({"x": st.floats(-10, 10), "y": st.floats(-1, 1)})}).map(
        lambda event: json.dumps(event).encode()
    ),
    st.fixed_dictionaries({"events": st.lists(EVENTS, max_size=2)}).map(lambda rows: json.dumps(rows).encode()),
    st.sampled_from([b"", b" {}", b"{", b"[]", b"\0\1", b'{"features":{"x":1e999}}', b'{"features":{"x":1,"x":2}}']),
    st.sampled_from([b'\xef\xbb\xbf{"features":{"x":1}}', b'{"features":{"x":"\xff"}}', b'{"features":{"x":NaN}}']),
)
HEADERS = st.sampled_from(
    [{}, {}, {}, {"content_type": "application/x-ndjson"}, {"idempotency_key": "key"}, {"host": "elsewhere"}]
)


class Ids:
    """Makes the ids of events without one: by the number of their request and of their row."""

    def __init__(self) -> None:
        self._request, self._row = -1, 0

    def next_request(self) -> None:
        self._request, self._row = self._request + 1, 0

    def one(self, now: int) -> str:
        made = f"made-{self._request}-{self._row}"
        self._row += 1
        return made

    def several(self, now: int, number: int) -> list[str]:
        assert number == 1
        return [f"made-{self._request}-0"]


def at_a_fixed_time(patch: pytest.MonkeyPatch) -> Ids:
    class Clock:
        time_ns = staticmethod(lambda: NOW * 1_000_000)

    for module in (predict, singles, answerer):
        patch.setattr(module, "time", Clock)
    ids = Ids()
    patch.setattr(predict, "made_id", ids.one)
    patch.setattr(singles, "made_ids", ids.several)
    return ids


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(BODIES, HEADERS), min_size=1, max_size=6))
def test_answers_and_entries_are_those_of_the_handler(
    tmp_path_factory: pytest.TempPathFactory, requests: list[tuple[bytes, dict[str, str]]]
) -> None:
    found: list[tuple[list[tuple[int, dict[str, str], bytes]], list[bytes]]] = []
    for quick in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            ids = at_a_fixed_time(patch)
            asked = Site(tmp_path_factory.mktemp("site"))
            asked.quick = quick
            responses = []
            for body, headers in requests:
                ids.next_request()
                responses.append(asked.one(body, **headers))
            answers = [(each.status, each.headers, each.answer) for each in responses]
            found.append((answers, [repr(entry.records).encode() for entry in asked.entries()]))
            asked.spool.close()
    assert found[0] == found[1]


def test_ids_made_here_are_in_the_order_of_time_and_so_are_the_keys_of_their_answers() -> None:
    ids = [made_ids.made_id(NOW + each) for each in range(3)]
    assert sorted(ids) == ids
    assert len({made_ids.made_id(NOW) for _ in range(100)}) == 100
    several = made_ids.made_ids(NOW, 100)
    assert len(set(several)) == 100
    assert {each[:12] for each in several} == {ids[0][:12]}
    assert {len(each) for each in several} == {len(ids[0])}
    keys = [made_ids.key_of(each) for each in ids]
    assert sorted(keys) == keys
    others = ["a", "a" * 28, "12 34 56 78 " + "a" * 16, "018BCFE56800" + "a" * 16, "018bcfe56800" + "a" * 16]
    assert {len(made_ids.key_of(each)) for each in (*ids, *others)} == {made_ids.KEY}
    assert len({made_ids.key_of(each) for each in others}) == len(others)


# --- turns -------------------------------------------------------------------------------------------


class Noted(Pacing):
    """Notes how many events were asked at once, and fails at one of them."""

    fails_at = ""

    def __init__(self, of: Site) -> None:
        super().__init__(of.answerer)
        self.asked: list[int] = []

    def at_once(self, events: Sequence[Event | Message], version: ServedVersion) -> list[Pending] | None:
        self.asked.append(len(events))
        if any(isinstance(each, Event) and each.event_id == self.fails_at for each in events):
            raise ZeroDivisionError(self.fails_at)
        return super().at_once(events, version)


@pytest.fixture
def noted(site: Site) -> Noted:
    site.pacing = found = Noted(site)
    return found


def event(number: int) -> dict[str, Any]:
    return {"event_id": f"e{number}", "features": {"x": number / 100, "y": 0.0}}


def answered(site: Site, count: int) -> list[Protocol]:
    return site.run(*(site.request(event(number)) for number in range(count)))


def test_the_events_of_one_turn_are_asked_together_and_each_has_its_own_answer(site: Site, noted: Noted) -> None:
    found = answered(site, 10)
    assert [each.json["prediction"] for each in found] == [number / 50 for number in range(10)]
    assert [each.headers["x-event-id"] for each in found] == [f"e{number}" for number in range(10)]
    assert noted.asked == [10]
    assert len(site.entries()) == 10


def test_many_are_asked_in_slices(site: Site, noted: Noted) -> None:
    assert {each.status for each in answered(site, 100)} == {200}
    assert sum(noted.asked) == 100
    assert max(noted.asked) <= LARGEST_SLICE


def test_an_error_in_the_code_concerns_its_own_event_alone(site: Site, noted: Noted) -> None:
    noted.fails_at = "e4"
    found = answered(site, 10)
    assert [each.status for each in found] == [200] * 4 + [503] + [200] * 5
    assert found[4].code == "internal"
    assert len(site.entries()) == 9


def test_a_version_that_becomes_slow_in_the_turn_is_asked_in_the_thread(
    site: Site, noted: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pacing, "is_slow", lambda pacing, version: bool(noted.asked))
    assert {each.status for each in answered(site, 40)} == {200}
    assert len(site.entries()) == 40


def test_a_full_spool_is_told_to_each(tmp_path: Path) -> None:
    full = Site(tmp_path, SpoolLimits(most_bytes=1))
    found = answered(full, 3)
    assert [(each.status, each.code, each.headers["retry-after"]) for each in found] == [(503, "spool-full", "1")] * 3
    full.spool.close()


def test_a_caller_that_has_gone_hinders_nobody(site: Site) -> None:
    async def one_goes() -> Protocol:
        gone, stays = (asyncio.create_task(site.request(event(number))) for number in (1, 2))
        await asyncio.sleep(0)
        gone.cancel()
        return await stays

    assert asyncio.run(one_goes()).json["event_id"] == "e2"
