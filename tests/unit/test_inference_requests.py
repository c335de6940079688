"""Open Inference Protocol V2: tensors become events, answers become tensors, and what is hostile is a 400."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from unit.inference_site import INFER, Chooses, Doubles, Model, X, make, outputs, site, texts

from consumers.model.river_model import wrap
from consumers.predictor.predictor import ServedVersion
from schemas.contract import Contract, Feature
from schemas.events import Features

__all__ = ["make", "site"]


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
    site.versions.serving = ServedVersion(wrap(Doubles(), "regression"), "fraud", 3, 90_000, 0, None)
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
    site = make(Chooses(), "multiclass")
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
