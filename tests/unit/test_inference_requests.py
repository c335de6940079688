"""Open Inference Protocol V2: tensors become events, answers become tensors, and what is hostile is a 400."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unit.test_http_app import NAMES, Site

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


class _Doubles:
    """Answers twice x; refuses 7, and has no answer to 8."""

    def predict_one(self, features: dict[str, Any]) -> float | None:
        if features["x"] == 7:
            raise ZeroDivisionError("seven")
        return None if features["x"] == 8 else features["x"] * 2


class _Chooses:
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
        made.append(Model(tmp_path / str(len(made)), model or _Doubles(), task, **more))
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


# --- inference -----------------------------------------------------------------------------------------


def test_each_row_is_an_event_that_is_answered_and_logged(site: Model) -> None:
    said = site.infer(X, id="r")
    assert (said.status, said.headers["x-model-version"]) == (200, "3/81000")
    assert {name: said.json[name] for name in ("model_name", "model_version", "id")} == {
        "model_name": "fraud", "model_version": "3-81000", "id": "r"
    }  # fmt: skip
    assert outputs(said) == {
        "prediction": [3.0, 4.0],
        "event_id": ["r-0", "r-1"],
        "model_version": ["3-81000", "3-81000"],
        "repeated": [False, False],
        "error": ["", ""],
    }
    assert [(each.event.event_id, each.outcome.prediction) for each in site.predictions()] == [
        ("r-0", 3.0),
        ("r-1", 4.0),
    ]


def test_tensors_of_all_types_in_json_and_in_binary_are_the_same_events(make: Callable[..., Model]) -> None:
    inputs: dict[str, tuple[str, list[int], list[Any], bytes]] = {
        "x": ("FP32", [2, 1], [0.1, 2.5], np.array([0.1, 2.5], "<f4").tobytes()),
        "count": ("UINT64", [2], [3, 2**63 - 1], np.array([3, 2**63 - 1], "<u8").tobytes()),
        "new": ("BOOL", [2, 1], [True, False], b"\x01\x00"),
        "country": ("BYTES", [2], ["DE", "é"], texts(b"DE", "é".encode())),
        "raw": ("BYTES", [2], ["a", ""], texts(b"a", b"")),
        "vector": ("INT8", [2, 3], [[1, 2, -3], [4, 5, 6]], bytes([1, 2, 253, 4, 5, 6])),
    }
    ways = []
    for is_binary in (False, True):
        site = make()
        sent = [
            {"name": name, "datatype": kind, "shape": shape}
            | ({"parameters": {"binary_data_size": len(data)}} if is_binary else {"data": values})
            for name, (kind, shape, values, data) in inputs.items()
        ]
        data = b"".join(each[3] for each in inputs.values()) if is_binary else b""
        assert site.infer(*sent, binary=data).status == 200
        ways.append(site.features())
    assert ways[0] == ways[1]
    assert ways[0] == [
        {"x": 0.10000000149011612, "count": 3, "new": True, "country": "DE", "raw": b"a", "vector": [1.0, 2.0, -3.0]},
        {"x": 2.5, "count": 2**63 - 1, "new": False, "country": "é", "raw": b"", "vector": [4.0, 5.0, 6.0]},
    ]
    assert ways[0][0]["new"] is True


@pytest.mark.parametrize(
    ("kind", "data"),
    [("FP16", np.array([1.5, 2], "<f2").tobytes()), ("BF16", b"\xc0\x3f\x00\x40"), ("FP32", b"\0\0\xc0\x3f\0\0\0@")],
)
def test_short_floats_are_read(site: Model, kind: str, data: bytes) -> None:
    short = {"name": "x", "shape": [2], "datatype": kind, "parameters": {"binary_data_size": len(data)}}
    assert outputs(site.infer(short, binary=data))["prediction"] == [3.0, 4.0]


def test_ids_times_and_entities_come_as_inputs(site: Model) -> None:
    said = site.infer(
        X,
        {"name": "event_id", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]},
        {"name": "event_time", "shape": [2, 1], "datatype": "INT64", "data": [[5], [6]]},
        {"name": "entity_key", "shape": [2], "datatype": "BYTES", "data": ["card", None]},
        id="r",
    )
    assert outputs(said)["event_id"] == ["a", "b"]
    events = [each.event for each in site.predictions()]
    assert [(each.event_id, each.event_time, each.entity_key) for each in events] == [("a", 5, "card"), ("b", 6, None)]


def test_ids_are_the_requests_or_the_headers_or_made_here(site: Model) -> None:
    assert outputs(site.infer(X, id="r", headers={"idempotency_key": "k"}))["event_id"] == ["r-0", "r-1"]
    assert outputs(site.infer(X, headers={"idempotency_key": "k"}))["event_id"] == ["k-0", "k-1"]
    made = [outputs(site.infer(X))["event_id"] for _ in range(2)]
    assert len({*made[0], *made[1]}) == 4


def test_a_repeated_request_has_the_same_answer_of_the_same_version_and_is_not_logged_again(site: Model) -> None:
    site.infer(X, id="r")
    assert site.versions.serving is not None
    site.versions.serving = ServedVersion(wrap(_Doubles(), "regression"), "fraud", 3, 90_000, 0, None)
    again = site.infer(X, id="r")
    assert again.json["model_version"] == "3-90000"
    found = outputs(again)
    assert (found["repeated"], found["model_version"]) == ([True, True], ["3-81000", "3-81000"])
    assert len(site.predictions()) == 2
    other = site.infer({**X, "data": [1.5, 3.0]}, id="r")
    assert outputs(other)["prediction"] == [3.0, None]
    assert outputs(other)["error"][1].startswith("conflict: ")


def test_what_is_missing_is_nan_or_null(make: Callable[..., Model]) -> None:
    site = make(contract=Contract(features={"x": Feature(), "y": Feature(), "word": Feature(type="string")}))
    nan = np.array([1.0, np.nan], "<f8").tobytes()
    said = site.infer(
        X,
        {"name": "y", "shape": [2], "datatype": "FP64", "parameters": {"binary_data_size": 16}},
        {"name": "word", "shape": [2], "datatype": "BYTES", "data": [None, "a"]},
        binary=nan,
    )
    assert said.status == 200
    assert site.features() == [{"x": 1.5, "y": 1.0}, {"x": 2.0, "word": "a"}]


def test_vectors_with_any_nan_are_refused_row_by_row_without_a_warning(site: Model) -> None:
    signalling = b"\x01\x00\xa0\x7f" * 2 + np.array([1, 2], "<f4").tobytes()
    vector = {"name": "vector", "shape": [2, 2], "datatype": "FP32", "parameters": {"binary_data_size": 16}}
    found = outputs(site.infer(X, vector, binary=signalling))
    assert [each.partition(":")[0] for each in found["error"]] == ["infinite", ""]


# --- outputs -------------------------------------------------------------------------------------------


def test_only_the_outputs_that_are_asked_for_come_in_their_order_and_form(make: Callable[..., Model]) -> None:
    site = make(_Chooses(), "multiclass")
    wanted = [
        {"name": "classes", "parameters": {"binary_data": True}},
        {"name": "probabilities", "parameters": {"binary_data": True}},
        {"name": "prediction"},
    ]
    said = site.infer({**X, "data": [1.0, -1.0]}, outputs=wanted)
    assert said.headers["content-type"] == "application/octet-stream"
    found = outputs(said)
    assert list(found) == ["classes", "probabilities", "prediction"]
    assert found["classes"] == texts(b"a", b"b", b"c")
    assert found["probabilities"].tolist() == [0.75, 0.25, 0, 0, 0, 1]
    assert found["prediction"] == ["a", "c"]


def test_all_outputs_are_binary_if_the_request_says_so(site: Model) -> None:
    found = outputs(site.infer(X, parameters={"binary_data_output": True}, id="r"))
    assert found["prediction"].tolist() == [3.0, 4.0]
    assert (found["event_id"], found["error"]) == (texts(b"r-0", b"r-1"), texts(b"", b""))
    assert found["repeated"].tolist() == [False, False]


@pytest.mark.parametrize(("value", "code"), [(99, "range"), (7, "model"), (8, "no-answer")])
def test_a_row_without_a_prediction_is_never_taken_for_one(site: Model, value: float, code: str) -> None:
    mixed, bad = {**X, "data": [1.5, value]}, {**X, "data": [value, value]}
    found = outputs(site.infer(mixed, parameters={"binary_data_output": True}))
    assert found["prediction"][0] == 3.0
    assert np.isnan(found["prediction"][1])
    assert f"{code}: ".encode() in found["error"]
    assert outputs(site.infer(mixed))["prediction"] == [3.0, None]
    alone = site.infer(mixed, outputs=[{"name": "prediction"}])
    assert (alone.status, list(alone.json)) == (422, ["error"])
    assert f"{code}: " in alone.json["error"]
    assert site.infer(bad).status == 422
    assert site.infer(mixed, outputs=[{"name": "prediction"}, {"name": "error"}]).status == 200
    assert len(site.predictions()) == 10


def test_many_rows_are_answered_in_slices_and_too_many_are_refused(site: Model) -> None:
    count = 5000
    data = np.linspace(-5, 5, count).astype("<f8")
    x = {"name": "x", "shape": [count, 1], "datatype": "FP64", "parameters": {"binary_data_size": data.nbytes}}
    assert outputs(site.infer(x, binary=data.tobytes()))["prediction"] == (data * 2).tolist()
    flags = {"name": "new", "shape": [100_001], "datatype": "BOOL", "parameters": {"binary_data_size": 100_001}}
    assert site.infer(flags, binary=bytes(100_001)).status == 413
    assert len(site.predictions()) == count


# --- hostile requests ----------------------------------------------------------------------------------


def _binary(size: Any, **more: Any) -> dict[str, Any]:
    return {**X, "data": None, "parameters": {"binary_data_size": size}} | more


def _words(size: int) -> dict[str, Any]:
    return _binary(size, name="country", datatype="BYTES")


HOSTILE: dict[str, tuple[Any, bytes]] = {
    "no list of inputs": ({"inputs": {}}, b""),
    "no inputs": ({"inputs": []}, b""),
    "no shape": ({"inputs": [{"name": "x", "datatype": "FP64", "data": [1]}]}, b""),
    "a negative shape": ({"inputs": [{**X, "shape": [-2]}]}, b""),
    "a shape of 2^63": ({"inputs": [{**X, "shape": [2**63]}]}, b""),
    "a shape of 2^63 - 1": ({"inputs": [{**X, "shape": [2, 2**63 - 1]}]}, b""),
    "a product beyond 64 bits": ({"inputs": [{**X, "shape": [100_000, 2**62]}]}, b""),
    "a vector beyond an event": ({"inputs": [{**X, "shape": [1, 800_000], "data": [1] * 800_000}]}, b""),
    "three axes": ({"inputs": [{**X, "shape": [2, 1, 1]}]}, b""),
    "no axis": ({"inputs": [{**X, "shape": []}]}, b""),
    "no rows": ({"inputs": [{**X, "shape": [0], "data": []}]}, b""),
    "a shape of fractions": ({"inputs": [{**X, "shape": [2.5]}]}, b""),
    "fewer values than the shape": ({"inputs": [{**X, "shape": [3]}]}, b""),
    "rows of other lengths": ({"inputs": [{**X, "shape": [2, 2], "data": [[1, 2, 3], [4]]}]}, b""),
    "an unknown datatype": ({"inputs": [{**X, "datatype": "FP128"}]}, b""),
    "a datatype that is no text": ({"inputs": [{**X, "datatype": ["FP64"]}]}, b""),
    "text as a number": ({"inputs": [{**X, "data": ["1", "2"]}]}, b""),
    "a fraction as a whole number": ({"inputs": [{**X, "datatype": "INT32", "data": [1, 2.5]}]}, b""),
    "beyond INT8": ({"inputs": [{**X, "datatype": "INT8", "data": [1, 128]}]}, b""),
    "beyond 63 bits": ({"inputs": [{**X, "datatype": "UINT64", "data": [1, 2**63]}]}, b""),
    "beyond FP32": ({"inputs": [{**X, "datatype": "FP32", "data": [1, 1e39]}]}, b""),
    "beyond FP16": ({"inputs": [{**X, "datatype": "FP16", "data": [1, 1e6]}]}, b""),
    "a number as BOOL": ({"inputs": [{**X, "datatype": "BOOL", "data": [1, 0]}]}, b""),
    "an object as data": ({"inputs": [{**X, "data": {"0": 1}}]}, b""),
    "deep data": (b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":' + b"[" * 100_000, b""),
    "NaN": (b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[NaN]}]}', b""),
    "a number without end": (b'{"inputs":[{"name":"x","shape":[%s]' % (b"9" * 9999), b""),
    "a value without end": (b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[%s]}]}' % (b"9" * 999), b""),
    "half a surrogate": (b'{"inputs":[{"name":"country","shape":[1],"datatype":"BYTES","data":["\\ud800"]}]}', b""),
    "not UTF-8": (b'{"inputs":[{"name":"\xff"}]}', b""),
    "other numbers of rows": ({"inputs": [X, {**X, "name": "y", "shape": [1], "data": [1]}]}, b""),
    "a name twice": ({"inputs": [X, X]}, b""),
    "an unknown output": ({"inputs": [X], "outputs": [{"name": "nothing"}]}, b""),
    "an output twice": ({"inputs": [X], "outputs": [{"name": "error"}, {"name": "error"}]}, b""),
    "top classes": ({"inputs": [X], "outputs": [{"name": "error", "parameters": {"classification": 2}}]}, b""),
    "a flag that is none": ({"inputs": [X], "parameters": {"binary_data_output": 1}}, b""),
    "a long id": ({"inputs": [X], "id": "x" * 1001}, b""),
    "an id that is a number": ({"inputs": [X], "id": 7}, b""),
    "ids that are numbers": ({"inputs": [X, {**X, "name": "event_id"}]}, b""),
    "times that are fractions": ({"inputs": [X, {**X, "name": "event_time"}]}, b""),
    "texts as a vector": ({"inputs": [{**X, "shape": [1, 2], "datatype": "BYTES", "data": ["a", "b"]}]}, b""),
    "a vector that FP64 would round": (
        {"inputs": [{**X, "shape": [1, 2], "datatype": "INT64", "data": [1, 2**53 + 1]}]}, b""
    ),
    "neither data nor size": ({"inputs": [{**X, "data": None}]}, b""),
    "both data and size": ({"inputs": [{**X, "parameters": {"binary_data_size": 16}}]}, bytes(16)),
    "a size that is too large": ({"inputs": [_binary(17)]}, bytes(16)),
    "a size of 2^63": ({"inputs": [_binary(2**63)]}, bytes(16)),
    "a negative size": ({"inputs": [_binary(-16)]}, bytes(16)),
    "a size that is no number": ({"inputs": [_binary(True)]}, bytes(16)),
    "a size that is not the shape's": ({"inputs": [_binary(8)]}, bytes(8)),
    "sizes that overlap": ({"inputs": [_binary(16), _binary(16, name="y")]}, bytes(24)),
    "bytes that belong to nobody": ({"inputs": [_binary(16)]}, bytes(17)),
    "UINT64 beyond 63 bits": ({"inputs": [_binary(16, datatype="UINT64")]}, b"\xff" * 16),
    "texts that are too long": ({"inputs": [_words(10)]}, texts(b"ab") + b"\xff" * 4),
    "texts that are too few": ({"inputs": [_words(6)]}, texts(b"ab")),
    "texts with a rest": ({"inputs": [_words(13)]}, texts(b"ab", b"c") + b"\0\0"),
    "texts that are not UTF-8": ({"inputs": [_words(9)]}, texts(b"\xff", b"")),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_request_is_400_and_nothing_of_it_is_logged(site: Model, name: str) -> None:
    given, binary = HOSTILE[name]
    if isinstance(given, dict):
        for each in given["inputs"]:
            if isinstance(each, dict) and each.get("data") is None:
                each.pop("data", None)
        given = json.dumps(given).encode()
    headers = {"inference_header_content_length": str(len(given))} if binary else {}
    said = site.one(given + binary, INFER, **headers)
    assert (said.status, list(said.json)) == (400, ["error"]), said.answer
    assert len(said.json["error"]) < 400
    assert site.entries() == []


@pytest.mark.parametrize("length", ["", "-1", "+1", "1.0", "999999", "1" * 5000, "１", "0x10", "0"])
def test_a_json_length_must_be_within_the_body(site: Model, length: str) -> None:
    said = site.infer(X, headers={"inference_header_content_length": length})
    assert said.status == 400
    assert site.entries() == []


def test_a_compressed_body_is_415(site: Model) -> None:
    assert site.infer(X, headers={"content_encoding": "gzip"}).status == 415


# --- what there is -------------------------------------------------------------------------------------


def test_server_and_health(site: Model) -> None:
    assert site.get("/v2").json == {"name": "millstream", "version": "0.1.0", "extensions": ["binary_tensor_data"]}
    assert site.get("/v2/health/live").json == {"live": True}
    assert (site.get("/v2/health/ready").status, site.get("/v2/models/fraud/ready").status) == (200, 200)
    site.health.draining = True
    for path in ("/v2/health/ready", "/v2/models/fraud/ready"):
        said = site.get(path)
        assert (said.status, said.json["ready"], said.headers["retry-after"]) == (503, False, "1")


def test_the_metadata_name_the_declared_features(site: Model) -> None:
    said = site.get("/v2/models/fraud").json
    assert (said["name"], said["versions"], said["platform"]) == ("fraud", ["3-81000"], "millstream")
    assert [(each["name"], each["datatype"], each["shape"]) for each in said["inputs"]] == [
        ("x", "FP64", [-1]),
        ("count", "INT64", [-1]),
        ("new", "BOOL", [-1]),
        ("country", "BYTES", [-1]),
        ("raw", "BYTES", [-1]),
        ("vector", "FP64", [-1, -1]),
    ]
    assert said["outputs"][0] == {"name": "prediction", "datatype": "FP64", "shape": [-1]}


def test_without_declared_features_they_are_those_that_were_learned(make: Callable[..., Model]) -> None:
    probes: tuple[Features, ...] = ({"a": 1, "b": "x", "c": None}, {"a": 1.5, "c": [1.0], "d": True})
    said = make(contract=Contract(), probes=probes).get("/v2/models/fraud").json
    found = {each["name"]: (each["datatype"], len(each["shape"])) for each in said["inputs"]}
    assert found == {"a": ("FP64", 1), "b": ("BYTES", 1), "c": ("FP64", 2), "d": ("BOOL", 1)}


@pytest.mark.parametrize("version", ["3-81000", "3/81000"])
def test_the_version_that_serves_answers_under_its_name(site: Model, version: str) -> None:
    base = f"/v2/models/fraud/versions/{version}"
    assert site.get(base).json["versions"] == ["3-81000"]
    assert site.get(f"{base}/ready").status == 200
    assert site.one({"inputs": [X]}, f"{base}/infer").status == 200


@pytest.mark.parametrize(
    "version", ["3-80000", "4-81000", "3", "latest", "3-81000-1", "-1-2", "٣-81000", "9" * 5000 + "-1"]
)
def test_any_other_version_is_404_and_the_served_one_is_named(site: Model, version: str) -> None:
    base = f"/v2/models/fraud/versions/{version}"
    for said in (site.get(base), site.get(f"{base}/ready"), site.one({"inputs": [X]}, f"{base}/infer")):
        assert said.status == 404
        assert "3-81000 does" in said.json["error"]
    assert site.entries() == []


def test_without_a_version_it_is_503(site: Model) -> None:
    site.versions.serving = None
    said = site.infer(X)
    assert (said.status, list(said.json), said.headers["retry-after"]) == (503, ["error"], "1")
    assert site.get("/v2/models/fraud").json["versions"] == []
    assert site.get("/v2/models/fraud/versions/3-81000").status == 503


def test_errors_of_paths_and_methods_are_the_protocols(site: Model) -> None:
    for path, method, status in [
        ("/v2/models/other", "GET", 404),
        ("/v2/models/fraud/other", "GET", 404),
        ("/v2/nothing", "GET", 404),
        (INFER, "GET", 405),
        ("/v2", "POST", 405),
    ]:
        said = site.one(b"", path, method=method)
        assert (said.status, isinstance(said.json["error"], str)) == (status, True)
    assert isinstance(site.one(b"", INFER, host="evil.example").json["error"], str)


def test_a_large_request_holds_nobody_up(site: Model) -> None:
    order: list[str] = []

    async def told(name: str, asked: Any) -> Any:
        response = await asked
        order.append(name)
        return response

    x = {"name": "x", "shape": [20_000], "datatype": "FP64", "data": [1.0] * 20_000}
    small = site.request({"inputs": [X]}, INFER)
    site.run(told("large", site.request({"inputs": [x]}, INFER)), told("small", small))
    assert order == ["small", "large"]
