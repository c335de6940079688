"""Clients of others, as docs/http.md shows them, on a running `millstream run --serve`."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from kafka_fixture import new_prefix
from system.http_server import SECONDS, free_port, is_ready, running, until
from system.oracle import Stream, read_all
from tritonclient.utils import InferenceServerException

from schemas.events import Prediction, read_prediction

_DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "http.md"
_FILE = """
from millstream import Checkpoints, Feature, Join, Stream
from river import compose, linear_model, preprocessing

stream = Stream(
    name="fraud",
    task="binary",
    model=lambda: (
        (compose.SelectType(int, float) | preprocessing.StandardScaler())
        + (compose.SelectType(str) | preprocessing.OneHotEncoder())
        | linear_model.LogisticRegression()
    ),
    features={"amount": Feature(minimum=0), "country": "string", "new": "boolean", "items": "integer",
        "seen": "vector"},
    checkpoints=Checkpoints(every="300ms"),
    join=Join(),
)
"""


class Server:
    """A running stream, and the address of its server."""

    def __init__(self, stream: Stream, port: int) -> None:
        self._stream, self.port = stream, port
        self.address = f"127.0.0.1:{port}"
        self.client = httpx.Client(base_url=f"http://{self.address}", timeout=60)

    def logged(self, *ids: str) -> dict[str, Prediction]:
        """Return the predictions of these events once all are on Kafka."""
        found: dict[str, Prediction] = {}

        def look() -> bool:
            values = [each.value for each in read_all(self._stream.bootstrap, self._stream.names.whole)]
            found.update({each.event.event_id: each for each in map(read_prediction, values)})
            return found.keys() >= set(ids)

        until(look, f"predictions of {ids}")
        return found


@pytest.fixture(scope="module")
def server(client: str, bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("open-inference")
    path = folder / "asked_by_tensors.py"
    path.write_text(_FILE)
    stream = Stream(str(path), bootstrap, new_prefix(), folder / "home")
    port = free_port()
    with running(stream, "run", stream.ref, "--serve", "--port", str(port)) as process:
        found = Server(stream, port)
        with found.client:
            until(lambda: is_ready(found.client) or process.poll() is not None, "a server that is ready")
            yield found
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0


def tensor(name: str, kind: str, values: Any, *, binary: bool = True) -> triton.InferInput:
    given = triton.InferInput(name, values.shape, kind)
    given.set_data_from_numpy(values, binary_data=binary)
    return given


def inputs(*, binary: bool) -> list[triton.InferInput]:
    words = np.array(["DE", "é", ""], dtype=object)
    return [
        tensor("amount", "FP32", np.array([[12.5], [0.1], [3]], np.float32), binary=binary),
        tensor("country", "BYTES", words, binary=binary),
        tensor("new", "BOOL", np.array([True, False, True]), binary=binary),
        tensor("items", "INT16", np.array([1, -2, 3], np.int16), binary=binary),
        tensor("seen", "FP64", np.array([[1.0, 2], [3, 4], [5, 6]]), binary=binary),
    ]


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_asks_and_each_row_is_logged(server: Server, binary: bool) -> None:
    request = uuid.uuid4().hex
    with triton.InferenceServerClient(server.address) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("fraud")
        assert not client.is_model_ready("fraud", "9-9")
        assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
        named = {each["name"]: each["datatype"] for each in client.get_model_metadata("fraud")["inputs"]}
        assert named == {"amount": "FP64", "country": "BYTES", "new": "BOOL", "items": "INT64", "seen": "FP64"}
        wanted = [triton.InferRequestedOutput(name, binary_data=False) for name in ("prediction", "event_id", "error")]
        said = client.infer("fraud", inputs(binary=binary), outputs=None if binary else wanted, request_id=request)
        again = client.infer("fraud", inputs(binary=not binary), request_id=request)
    ids = [f"{request}-{row}" for row in range(3)]
    assert [each if isinstance(each, str) else each.decode() for each in said.as_numpy("event_id")] == ids
    assert said.as_numpy("prediction").dtype == bool
    assert (said.as_numpy("probabilities") is None) == (not binary)
    assert again.as_numpy("repeated").tolist() == [True] * 3
    assert again.as_numpy("probabilities").shape == (3, 2)
    assert again.as_numpy("prediction").tolist() == said.as_numpy("prediction").tolist()
    logged = server.logged(*ids)
    assert [logged[each].event.features for each in ids] == [
        {"amount": 12.5, "country": "DE", "new": True, "items": 1, "seen": [1.0, 2.0]},
        {"amount": float(np.float32(0.1)), "country": "é", "new": False, "items": -2, "seen": [3.0, 4.0]},
        {"amount": 3.0, "country": "", "new": True, "items": 3, "seen": [5.0, 6.0]},
    ]
    assert [logged[each].outcome.prediction for each in ids] == said.as_numpy("prediction").tolist()


def test_a_refused_row_is_an_exception_of_tritonclient_and_logged(server: Server) -> None:
    request = uuid.uuid4().hex
    bad = [tensor("amount", "FP64", np.array([1.0, -1.0]))]
    with triton.InferenceServerClient(server.address) as client:
        with pytest.raises(InferenceServerException, match=f"event '{request}-1': range: feature 'amount' is -1.0"):
            client.infer("fraud", bad, outputs=[triton.InferRequestedOutput("prediction")], request_id=request)
        said = client.infer("fraud", bad, request_id=request)
        with pytest.raises(InferenceServerException, match="there is no model 'other'; there is fraud"):
            client.infer("other", bad)
    assert [bool(each) for each in said.as_numpy("error")] == [False, True]
    outcome = server.logged(f"{request}-1")[f"{request}-1"].outcome
    assert outcome.error is not None
    assert outcome.error.code == "range"


def test_the_version_that_serves_is_asked_by_its_name(server: Server) -> None:
    [version] = server.client.get("/v2/models/fraud").json()["versions"]
    for spelled in (version, version.replace("-", "%2F")):
        assert server.client.get(f"/v2/models/fraud/versions/{spelled}").json()["versions"] == [version]
    said = server.client.get("/v2/models/fraud/versions/77-1")
    assert (said.status_code, version in said.json()["error"]) == (404, True)


def _bodies() -> Iterator[tuple[bytes, str | None]]:
    """Yield damaged requests: cut off, with other bytes, with other lengths."""
    x = {"name": "amount", "shape": [2], "datatype": "FP64", "parameters": {"binary_data_size": 16}}
    words = {"name": "country", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": 12}}
    text = json.dumps({"inputs": [x, words]}).encode()
    whole = text + struct.pack("<dd", 1, 2) + struct.pack("<I2sI2s", 2, b"DE", 2, b"FR")
    for cut in range(0, len(whole), 5):
        yield whole[:cut], str(len(text))
        yield whole[:cut], None
    for at in range(0, len(text), 3):
        yield whole[:at] + b"\xff" + whole[at + 1 :], str(len(text))
    for length in ("-1", "0", "1", "99999", str(2**64), "x", "1e2", str(len(text) - 1), str(len(text) + 1)):
        yield whole, length
    for at in (len(text) + 16, len(text) + 22):
        yield whole[:at] + b"\xff\xff\xff\xff" + whole[at + 4 :], str(len(text))


def test_damaged_requests_are_400_and_the_server_serves_on(server: Server) -> None:
    statuses: dict[int, int] = {}
    for body, length in _bodies():
        headers = {} if length is None else {"Inference-Header-Content-Length": length}
        said = server.client.post("/v2/models/fraud/infer", content=body, headers=headers)
        assert list(said.json()) == ["error"], (body, length, said.text)
        statuses[said.status_code] = statuses.get(said.status_code, 0) + 1
    assert statuses.keys() == {400}
    assert statuses[400] > 150
    assert server.client.get("/v2/health/ready").status_code == 200


def test_the_description_is_served(server: Server) -> None:
    assert server.client.get("/openapi.json").json()["info"]["title"] == "Millstream: fraud"
    assert server.client.get("/docs").headers["content-type"].startswith("text/html")


# --- the document's own lines ----------------------------------------------------------------------------


def lines(language: str, word: str) -> str:
    """Return the five lines of a client, from the section of clients."""
    section = _DOCUMENT.read_text().split("\n## Clients\n")[1].split("\n## ")[0]
    found = [each for each in re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL) if word in each]
    assert len(found) == 1
    assert len([line for line in found[0].splitlines() if line]) == 5
    return found[0]


def run(server: Server, command: list[str], text: str, folder: Path) -> str:
    at_port = text.replace("localhost:8080", f"localhost:{server.port}")
    done = subprocess.run([*command, at_port], cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_lines_for_curl(server: Server, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl here")
    told = run(server, ["bash", "-e", "-c"], lines("sh", "curl").replace("curl ", "curl -sSf -w '\\n' "), tmp_path)
    first, taken, learned, *rows = [json.loads(line) for line in told.splitlines() if line]
    assert (first["event_id"], taken) == ("order-18", {"event_id": "order-18", "taken": True})
    assert int(learned["version"].split("/")[1]) >= 1
    assert [row["prediction"] in (True, False) for row in rows] == [True, True]


def test_the_lines_for_httpx(server: Server, tmp_path: Path) -> None:
    assert run(server, [sys.executable, "-c"], lines("python", "httpx"), tmp_path) in ("True\n", "False\n")
    assert server.logged("order-19")["order-19"].event.features == {"amount": 12.5, "country": "DE"}


def test_the_lines_for_javascript(server: Server, tmp_path: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("no node here, which runs the lines for JavaScript")
    told = run(server, ["node", "--input-type=module", "-e"], lines("js", "fetch"), tmp_path)
    assert re.fullmatch(r"(true|false) \{ .*: .*\}\n", told)
    assert server.logged("order-20")["order-20"].event.features == {"amount": 12.5, "country": "DE"}


def test_the_lines_for_tritonclient(server: Server, tmp_path: Path) -> None:
    told = run(server, [sys.executable, "-c"], lines("python", "triton"), tmp_path)
    assert re.fullmatch(r"\[\s*(True|False)\s+(True|False)\] \[b'orders-21-0' b'orders-21-1'\]\n", told)
    assert server.logged("orders-21-1")["orders-21-1"].event.features == {"amount": 990.0, "country": "FR"}


def test_a_socket_that_ends_within_its_tensors_disturbs_nobody(server: Server) -> None:
    head = b"POST /v2/models/fraud/infer HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5000\r\n\r\n{"
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port)) as half:
            half.sendall(head)
    assert server.client.get("/v2/health/live").json() == {"live": True}
