"""Version that a caller asks for: waited for, refused at once where a person decided otherwise."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest
from unit.http_site import Raises

from consumers.model.models_topic_state import Known
from consumers.model.river_model import wrap
from consumers.predictor.predictor import ServedVersion
from schemas.model_updates import ModelUpdate, Serving
from server.answering.versions import LastServed, Versions, VersionTooOld


class _Feed:
    """Serves what it is told to."""

    model = "fraud"

    def __init__(self, examples: int | None) -> None:
        self.serving = None if examples is None else _version(examples)

    def follow(self, known: Known) -> None:
        pass

    def newest(self) -> ServedVersion | None:
        return self.serving


def _version(examples: int) -> ServedVersion:
    return ServedVersion(wrap(Raises(), "regression"), "fraud", 3, examples, 0, None)


def versions(path: Path, feed: _Feed, decided: int | None = None) -> Versions:
    known = Known()
    if decided is not None:
        decision = Serving("fraud", 0, 3, decided, "ada", "it was better")
        known.take(decision.key.encode(), ModelUpdate(1, decision).encode())
    made = Versions(feed, path / "last.json", 4, 4)  # type: ignore[arg-type]
    made.follow(known)
    return made


class _SlowFeed(_Feed):
    """Takes long to load what the models topic asks for, and counts what it is asked for."""

    def __init__(self) -> None:
        super().__init__(500)
        self.begun, self.go_on, self.calls = threading.Event(), threading.Event(), 0

    def follow(self, known: Known) -> None:
        self.calls += 1
        self.begun.set()
        assert self.go_on.wait(30)


def test_a_version_that_loads_slowly_is_not_taken_for_a_kafka_that_is_away(tmp_path: Path) -> None:
    """What served last may be older than what is being loaded, and would be loaded beside it and serve after it."""
    feed, said = _SlowFeed(), list[str]()
    made = Versions(feed, tmp_path / "last.json", 4, 4, said.append)  # type: ignore[arg-type]
    follows = threading.Thread(target=made.follow, args=(Known(),))
    follows.start()
    assert feed.begun.wait(30)
    begins = threading.Thread(target=made.begin_with, args=(LastServed("fraud", 3, 400, 4, 4, 1),))
    begins.start()
    begins.join(1)
    feed.go_on.set()
    begins.join(30)
    follows.join(30)
    assert (feed.calls, said) == (1, [])


def test_a_decision_for_an_older_version_is_409_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(VersionTooOld, match=r"version 3/500 serves by a decision, which is older than 3/900") as found:
        asyncio.run(versions(tmp_path, _Feed(500), 500).at_least("3/900", "30s", {}))
    assert (found.value.status, found.value.code) == (409, "decided")
    assert time.monotonic() - began < 20, "it does not wait"


def test_a_decision_for_a_version_that_suffices_is_waited_for(tmp_path: Path) -> None:
    feed = _Feed(500)
    made = versions(tmp_path, feed, 900)

    async def asked() -> ServedVersion:
        waiting = asyncio.create_task(made.at_least("3/900", "30s", {}))
        await asyncio.sleep(0)
        feed.serving = _version(900)
        return await waiting

    assert asyncio.run(asked()).examples == 900


def test_without_a_decision_a_version_that_does_not_come_is_503(tmp_path: Path) -> None:
    with pytest.raises(VersionTooOld, match="version 3/900 does not serve yet; 3/500 does") as found:
        asyncio.run(versions(tmp_path, _Feed(500)).at_least("3/900", "20ms", {}))
    assert (found.value.status, found.value.code) == (503, "version")
