"""A server's application on a spool, without a web server before it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from unit.rsgi import Headers, Protocol, Scope

from consumers.model.river_model import wrap
from consumers.predictor.predictor import PredictorSettings, ServedVersion
from schemas.contract import Contract, Feature
from schemas.events import Prediction, read_prediction
from schemas.target import Target
from schemas.topics import Names
from server.answering.answerer import Answerer, AnswererSettings
from server.answering.pacing import Pacing
from server.answering.versions import VersionTooOld
from server.spool.entries import Entry
from server.spool.segments import LaneReader
from server.spool.spool import Spool, SpoolLimits
from server.spool.turns import Turns
from server.web.app import App, AppLimits
from server.web.messages import Route
from server.web.predict import Predict
from server.web.worker import Health

NAMES = Names("fraud")
CONTRACT = Contract(features={"x": Feature(minimum=-10, maximum=10), "y": Feature()}, unknown="refuse")


class Raises:
    """A model that refuses some events."""

    def predict_one(self, features: dict[str, float]) -> float:
        if features["x"] == 7:
            raise ZeroDivisionError("seven")
        return features["x"] * 2


class Served:
    """Serves one version, or none."""

    def __init__(self, model: Any = None) -> None:
        face = wrap(model or Raises(), "regression")
        self.serving: ServedVersion | None = ServedVersion(face, "fraud", 3, 81_000, 0, None)

    def newest(self) -> ServedVersion | None:
        return self.serving

    async def at_least(self, wanted: str | None, wait: str | None, others: object) -> ServedVersion:
        if self.serving is None:
            raise VersionTooOld(503, "not-ready", "no version has answered its probe yet")
        return self.serving


class Site:
    """A server's application on a spool."""

    def __init__(
        self, path: Path, limits: SpoolLimits | None = None, app: AppLimits | None = None, names: Names = NAMES
    ) -> None:
        self.spool = Spool(path, limits)
        self.versions = Served()
        settings = AnswererSettings(
            names, CONTRACT, Target(task="regression"), 4, PredictorSettings(names, CONTRACT, 4).form, "http:abc", 0
        )
        self.answerer = Answerer(settings)
        self.health = Health(lambda: None)
        self.pacing: Pacing | None = None
        self.unlogged = False
        self.quick = True
        """False to have each single event answered by its handler."""
        self._limits = app
        self._said: list[str] = []

    def run(self, *requests: Coroutine[Any, Any, Protocol]) -> list[Protocol]:
        async def all_at_once() -> list[Protocol]:
            return await asyncio.gather(*requests)

        return asyncio.run(all_at_once())

    def one(self, body: bytes | dict[str, Any], path: str = "/v1/predict", **more: Any) -> Protocol:
        [response] = self.run(self.request(body, path, **more))
        return response

    async def request(
        self, body: bytes | dict[str, Any], path: str = "/v1/predict", method: str = "POST", **headers: str
    ) -> Protocol:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"host": "localhost:8080", "content-length": str(len(data))}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        if given["content-length"] == "none":
            del given["content-length"]
        protocol = Protocol([data[begin : begin + 1000] for begin in range(0, len(data), 1000)])
        await self._app().__rsgi__(Scope(method, path, Headers(given)), protocol)
        return protocol

    def _app(self) -> App:
        # One for each loop: its turns belong to it.
        loop: Any = asyncio.get_running_loop()
        if not hasattr(self, "_made") or self._made[0] is not loop:
            turns = Turns(self.spool, "process", unlogged=self.unlogged)
            predict = Predict(self.answerer, self.versions, turns, self.pacing)  # type: ignore[arg-type]
            routes = {
                "/v1/predict": {"POST": Route(predict.predict, "predict")},
                "/v1/labels": {"POST": Route(predict.labels, "label")},
                "/v1/metrics/{name}": {"POST": Route(predict.metrics, "metric")},
                "/readyz": {"GET": Route(self.health.readyz, None)},
            }
            self._made = (
                loop,
                App(routes, self._limits, self._said.append, singles=predict.singles if self.quick else None),
            )
        app: App = self._made[1]
        return app

    def entries(self) -> list[Entry]:
        reader = LaneReader(self.spool.folder.lane(self.spool.lane), 0)
        found: list[Entry] = []
        while more := reader.read(1 << 22):
            found += more
        return found

    def values(self, kind: str) -> list[bytes]:
        return [each.value or b"" for entry in self.entries() for each in entry.records if each.kind == kind]

    def predictions(self) -> list[Prediction]:
        return [read_prediction(value) for value in self.values("whole")]


Make = Callable[..., Site]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Site] = []

    def new(**more: Any) -> Site:
        made.append(Site(tmp_path / str(len(made)), **more))
        return made[-1]

    yield new
    for site in made:
        site.spool.close()


@pytest.fixture
def site(make: Make) -> Site:
    return make()
