"""What docs/clients.md says, as it stands there, in an environment that has never heard of Millstream."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from system.commands import lines
from system.oracle import Stream

_DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "clients.md"
_SECONDS = 120
_FILE = """
from millstream import Predictions, Stream
from river import compose, linear_model, preprocessing

stream = Stream(
    name="fraud",
    task="binary",
    model=lambda: (
        (compose.SelectType(int, float) | preprocessing.StandardScaler())
        + (compose.SelectType(str) | preprocessing.OneHotEncoder())
        | linear_model.LogisticRegression()
    ),
    predictions=Predictions(format="FORMAT"),
)
"""


def blocks(word: str) -> list[str]:
    """Return the document's Python that has a word in it, in order."""
    found = re.findall(r"^```python\n(.*?)^```$", _DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    return [block for block in found if word in block]


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Python that has two Kafka clients and an Avro library, and nothing of ours."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "-q", "confluent-kafka", "kafka-python>=3.0.12,<3.1", "fastavro"]
    done = subprocess.run(install, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        pytest.skip(f"no packages can be installed here: {done.stderr.strip().splitlines()[-1]}")
    none = subprocess.run([python, "-I", "-c", "import millstream"], capture_output=True, check=False)
    assert none.returncode != 0
    return python


class Service:
    """Runs blocks of the document in a folder of its own."""

    def __init__(self, python: Path, stream: Stream, folder: Path) -> None:
        self._python, self._stream, self._folder = python, stream, folder

    def _command(self, block: str) -> dict[str, Any]:
        assert "127.0.0.1:19092" in block
        assert "fraud." in block
        code = block.replace("127.0.0.1:19092", self._stream.bootstrap).replace(
            "fraud.", f"{self._stream.prefix}fraud."
        )
        return {"args": [self._python, "-I", "-c", code], "cwd": self._folder, "env": {"PATH": os.environ["PATH"]}}

    def run(self, block: str) -> None:
        done = subprocess.run(**self._command(block), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr

    def until_printed(self, block: str, count: int) -> list[list[str]]:
        """Run a block that reads for ever until it has printed so many lines, and return their words."""
        said, errors = self._folder / "said", self._folder / "errors"
        with said.open("w") as out, errors.open("w") as wrong:
            process = subprocess.Popen(**self._command(block), stdout=out, stderr=wrong)
        deadline = time.monotonic() + _SECONDS
        try:
            while said.read_text().count("\n") < count:
                assert process.poll() is None, errors.read_text()
                assert time.monotonic() < deadline, said.read_text()
                time.sleep(0.05)
        finally:
            process.kill()
            process.wait()
        return [line.split(" ", 3) for line in said.read_text().splitlines()]


@contextmanager
def roles(stream: Stream, log: Path) -> Iterator[None]:
    with log.open("w") as file:
        command = [sys.executable, "-m", "millstream", "run", stream.ref]
        process = subprocess.Popen(command, env=stream.environment(), stdout=file, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + _SECONDS
    try:
        while log.read_text().count("| ready: ") < 3:
            assert time.monotonic() < deadline, log.read_text()
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.full
@pytest.mark.parametrize("form", ["json", "avro"])
def test_other_clients_send_events_and_labels_and_read_what_is_answered(
    form: str, bootstrap: str, prefix: str, tmp_path: Path, elsewhere: Path
) -> None:
    file = tmp_path / "fraud.py"
    file.write_text(_FILE.replace("FORMAT", form))
    stream = Stream(str(file), bootstrap, prefix, tmp_path / "home")
    service = Service(elsewhere, stream, tmp_path)
    schema = [sys.executable, "-P", "-m", "millstream", "schema", "Prediction"]
    (tmp_path / "prediction.avsc").write_bytes(subprocess.run(schema, capture_output=True, check=True).stdout)
    readers = blocks("fastavro") if form == "avro" else [each for each in blocks("json.loads") if "Consumer" in each]
    assert len(readers) == (1 if form == "avro" else 2)
    with roles(stream, tmp_path / "run.log"):
        for block in (*blocks("fraud.features"), *blocks("fraud.labels")):
            service.run(block)
        for reader in readers:
            answers = service.until_printed(reader, 2)
            assert sorted(answer[:2] for answer in answers) == [["e1", "ok"], ["e2", "ok"]]
        deadline = time.monotonic() + _SECONDS
        while not (examples := lines(stream, "examples", stream.ref)):
            assert time.monotonic() < deadline, (tmp_path / "run.log").read_text()
    assert [each["event_id"] for each in examples] == ["e1"]
