"""A server's application with the Open Inference Protocol, and the parts of requests to it."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unit.http_site import NAMES, Site

from consumers.model.river_model import wrap
from consumers.predictor.predictor import PredictorSettings, ServedVersion
from schemas.contract import Contract, Feature
from schemas.events import Features
from schemas.target import Target, Task
from server.answering.answerer import Answerer, AnswererSettings
from server.answering.versions import VersionTooOld
from server.open_inference.endpoints import OpenInference
from server.openapi.pages import description
from server.spool.turns import Turns
from server.web.app import App
from server.web.predict import Predict

MIXED = Contract(
    features={
        "x": Feature(minimum=-10, maximum=10),
        "count": Feature(type="integer"),
        "new": Feature(type="boolean"),
        "country": Feature(type="string"),
        "raw": Feature(type="bytes"),
        "vector": Feature(type="vector"),
    },
    unknown="refuse",
)
INFER = "/v2/models/fraud/infer"
X = {"name": "x", "shape": [2], "datatype": "FP64", "data": [1.5, 2.0]}


class Doubles:
    """Answers twice x; refuses 7, and has no answer to 8."""

    def predict_one(self, features: dict[str, Any]) -> float | None:
        if features["x"] == 7:
            raise ZeroDivisionError("seven")
        return None if features["x"] == 8 else features["x"] * 2


class Chooses:
    """A classifier of texts."""

    def predict_proba_one(self, features: dict[str, Any]) -> dict[str, float]:
        return {"a": 0.75, "b": 0.25} if features["x"] > 0 else {"c": 1.0}

    def predict_one(self, features: dict[str, Any]) -> str:
        return "a" if features["x"] > 0 else "c"


class _Versions:
    def __init__(self, serving: ServedVersion | None) -> None:
        self.serving = serving

    def newest(self) -> ServedVersion | None:
        return self.serving

    async def at_least(self, wanted: str | None, wait: str | None, others: object) -> ServedVersion:
        if self.serving is None:
            raise VersionTooOld(503, "not-ready", "no version has answered its probe yet")
        return self.serving


class Model(Site):
    """A server's application with the protocol, on a spool."""

    def __init__(
        self, path: Path, model: Any, task: Task, contract: Contract = MIXED, probes: tuple[Features, ...] = ()
    ) -> None:
        super().__init__(path)
        self._target = Target(task=task)
        self._contract = contract
        serving = ServedVersion(wrap(model, task), "fraud", 3, 81_000, 0, None, probes)
        self.versions = _Versions(serving)  # type: ignore[assignment]
        form = PredictorSettings(NAMES, contract, 4).form
        self.answerer = Answerer(AnswererSettings(NAMES, contract, self._target, 4, form, "http:abc", 0))

    def _app(self) -> App:
        predict = Predict(self.answerer, self.versions, Turns(self.spool, "process"))  # type: ignore[arg-type]
        unready = self.health.unready
        protocol = OpenInference("fraud", "0.1.0", self._contract, self._target, predict, unready)
        return App({**protocol.routes(), **description("fraud", "0.1.0")}, None, self._said.append)

    def get(self, path: str) -> Any:
        return self.one(b"", path, method="GET")

    def infer(self, *inputs: dict[str, Any], binary: bytes = b"", **more: Any) -> Any:
        """Send a request; with binary tensors, the length of its JSON too."""
        headers = more.pop("headers", {})
        text = json.dumps({"inputs": inputs, **more}).encode()
        if binary:
            headers = {"inference_header_content_length": str(len(text)), **headers}
        return self.one(text + binary, INFER, **headers)

    def features(self) -> list[Features]:
        return [each.event.features for each in self.predictions()]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Model]]:
    made: list[Model] = []

    def new(model: Any = None, task: Task = "regression", **more: Any) -> Model:
        made.append(Model(tmp_path / str(len(made)), model or Doubles(), task, **more))
        return made[-1]

    yield new
    for each in made:
        each.spool.close()


@pytest.fixture
def site(make: Callable[..., Model]) -> Model:
    return make()


def outputs(said: Any) -> dict[str, Any]:
    """Return the outputs of a response by name, also those that are binary."""
    length = said.headers.get("inference-header-content-length")
    head = json.loads(said.answer if length is None else said.answer[: int(length)])
    rest = b"" if length is None else said.answer[int(length) :]
    found: dict[str, Any] = {}
    for each in head["outputs"]:
        if "data" in each:
            found[each["name"]] = each["data"]
            continue
        size = each["parameters"]["binary_data_size"]
        data, rest = rest[:size], rest[size:]
        found[each["name"]] = data if each["datatype"] == "BYTES" else np.frombuffer(data, NUMPY[each["datatype"]])
    assert rest == b""
    return found


NUMPY = {"BOOL": "?", "INT64": "<i8", "FP64": "<f8", "FP32": "<f4"}


def texts(*given: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(each)) + each for each in given)
