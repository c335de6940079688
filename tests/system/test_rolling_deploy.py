"""A rolling change of the stream file: processes of both codes at once, and every answer the named version's own."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_server import Started
from raw_kafka import raw_producer
from system.commands import millstream, told
from system.oracle import Stream, assert_once, predictions, read_all

from millstream.stream.load import load_stream
from millstream.version_code.choice import VersionCode
from millstream.versions.trace_event import computed_again
from model_store import open_store
from runtime.kafka_client.cluster import Cluster
from schemas.events import Event, Prediction, read_prediction
from schemas.topics import partition_of

FILE = """
from river import base, linear_model
from millstream import Stream

class Scale(base.Transformer):
    def transform_one(self, x):
        return {{"s": x["a"] * {scale}}}

stream = Stream(name="rolling", task="binary", label="y", features={{"a": "number"}},
                model=lambda: Scale() | linear_model.LogisticRegression())
"""
ROWS = 200
EACH = 40
_SECONDS = 60.0


class Deploy:
    """The stream, with the file of before in ``old/`` and the changed one in ``new/``."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path) -> None:
        self.folder = folder
        for name, scale in (("old", 2.0), ("new", -3.0)):
            (folder / name).mkdir()
            (folder / name / "rolling.py").write_text(FILE.format(scale=scale))
        rows = [f"{(number % 9) - 4},{number % 9 > 4}" for number in range(ROWS)]
        (folder / "rows.csv").write_text("\n".join(["a,y", *rows]) + "\n")
        self.stream = Stream(self.file("old"), bootstrap, prefix, folder / "home")
        self.names = self.stream.names
        self.sent: list[str] = []

    def file(self, which: str) -> str:
        return str(self.folder / which / "rolling.py")

    @contextmanager
    def role(self, role: str, which: str, instance: str, *more: str) -> Iterator[Path]:
        """Run one role until the block ends, and insist that it ends in order; lends its log."""
        log = self.folder / f"{role}-{instance}.log"
        with log.open("w") as file:
            command = (role, self.file(which), "--instance", instance, *more)
            process = Started(*command, env=self.stream.environment(), out=file.fileno(), err=file.fileno())
        try:
            yield log
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()

    def send(self) -> None:
        """Send some events, and wait until each has an answer."""
        producer = raw_producer(Cluster(self.stream.bootstrap))
        for number in range(len(self.sent), len(self.sent) + EACH):
            event = Event(f"e{number}", time.time_ns() // 1_000_000, {"a": (number % 7) - 3.0})
            partition = partition_of(event.event_id, 4)
            producer.send(self.names.topic("features"), event.encode(), event.event_id.encode(), partition=partition)
            self.sent.append(event.event_id)
        producer.flush(20)
        producer.close()
        deadline = time.monotonic() + _SECONDS
        while len(predictions(self.stream)) < len(self.sent):
            assert time.monotonic() < deadline, "not every event has an answer"
            time.sleep(0.1)

    def answered_by(self) -> set[str]:
        """Return the versions that gave the answers to what was sent last."""
        last = set(self.sent[-EACH:])
        return {each.outcome.version for each in predictions(self.stream) if each.event.event_id in last}


def until(log: Path, text: str) -> None:
    deadline = time.monotonic() + _SECONDS
    while text not in log.read_text():
        assert time.monotonic() < deadline, f"{text!r} is not in:\n{log.read_text()}"
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    """Undo what importing the stream's files does to this process."""
    before = list(sys.path)
    yield
    sys.path[:] = before
    sys.modules.pop("rolling", None)


@pytest.fixture
def deploy(bootstrap: str, prefix: str, tmp_path: Path) -> Deploy:
    found = Deploy(bootstrap, prefix, tmp_path)
    millstream(found.stream, "topics", "create", found.file("old"))
    millstream(found.stream, "import", found.file("old"), str(tmp_path / "rows.csv"))
    with found.role("learner", "old", "first") as log:
        until_made(found, f"1/{ROWS}")
        assert "ready" in log.read_text()
    return found


def until_made(deploy: Deploy, version: str) -> None:
    store = open_store(deploy.stream.models, deploy.stream.home / "keys", sign=False)
    deadline = time.monotonic() + _SECONDS
    while version not in map(str, store.versions("rolling")):
        assert time.monotonic() < deadline, f"there is no version {version}"
        time.sleep(0.1)


def forget(folder: Path) -> None:
    """Have the next file of the same name imported from its own folder, as in another process."""
    sys.modules.pop("rolling", None)
    sys.path[:] = [each for each in sys.path if not each.startswith(str(folder))]


def assert_each_answer_is_its_versions_own(deploy: Deploy) -> None:
    """Whichever file is there, each answer is computed again to the last bit from the version that it names."""
    store = open_store(deploy.stream.models, deploy.stream.home / "keys", sign=False)
    said = predictions(deploy.stream)
    assert_once([each.event.event_id for each in said], set(deploy.sent), "answers")
    for which in ("old", "new"):
        forget(deploy.folder)
        code = VersionCode(load_stream(deploy.file(which)), store, "version")
        again = [computed_again(code, each) for each in said]
        assert [each["equal"] for each in again] == [True] * len(said), which
        assert {(each["version"], each["carried"]) for each in again} == {
            (f"1/{ROWS}", which == "new"),
            (f"2/{ROWS}", which == "old"),
        }
    forget(deploy.folder)


def assert_backfilled_as_answered(deploy: Deploy) -> None:
    """With the new file alone, `backfill --as-of` writes what was answered then by either code."""
    into = f"{deploy.stream.prefix}again"
    millstream(deploy.stream, "backfill", deploy.file("new"), "--as-of", "--into", into, "--rate", "unlimited")
    again = [read_prediction(each.value) for each in read_all(deploy.stream.bootstrap, into)]
    assert sorted(map(answer_of, again)) == sorted(map(answer_of, predictions(deploy.stream)))


def answer_of(said: Prediction) -> tuple[object, ...]:
    outcome = said.outcome
    return said.event.event_id, outcome.version, outcome.prediction, sorted((outcome.probabilities or {}).items())


def test_a_changed_file_is_rolled_out_and_taken_back_and_each_answer_is_its_versions_own(deploy: Deploy) -> None:
    old, new = f"1/{ROWS}", f"2/{ROWS}"
    with deploy.role("predictor", "old", "0") as first:
        until(first, f"version {old} answers now")
        deploy.send()
        # The learner goes first. Predictors of the code before refuse what it makes, and serve on.
        with deploy.role("learner", "new", "first", "--new-epoch", "replay") as learner:
            until(first, f"version {new} is refused, {old} serves on")
            assert f"version {old} serves until the replay has learned as much" in learner.read_text()
        deploy.send()
        assert deploy.answered_by() == {old}
        with deploy.role("predictor", "new", "1") as second:
            until(second, f"version {new} answers now")
            until(second, "ready: ")
            deploy.send()
            assert deploy.answered_by() == {old, new}, "both codes are at work"
    with deploy.role("predictor", "new", "1") as second:
        until(second, f"version {new} answers now")
        deploy.send()
        assert deploy.answered_by() == {new}
        # Back: to what served before the rollout. Only who may run a version's code serves that with the new file.
        assert f"serves version {old} until" in millstream(deploy.stream, "models", "rollback", deploy.file("new"))
        until(second, f"version {old} is refused, {new} serves on")
        assert second.read_text().count("is refused") == 1, "said once"
        deploy.send()
        assert deploy.answered_by() == {new}
    with deploy.role("predictor", "new", "1", "--code", "version") as second:
        until(second, f"version {old} answers now")
        deploy.send()
        assert deploy.answered_by() == {old}
    assert_each_answer_is_its_versions_own(deploy)
    assert_backfilled_as_answered(deploy)
    verified = told(deploy.stream, "models", "verify", deploy.file("new"), old)
    assert (verified["holds"], verified["from"]) == (True, "1/0")


def test_a_version_made_before_a_change_is_gone_on_from_with_its_own_code(deploy: Deploy) -> None:
    """`verify`, `rebuild --from`, `models code` and `export` of a version whose code the file has no more."""
    new = deploy.file("new")
    refused = millstream(deploy.stream, "models", "verify", new, "--code", "own", code=1)
    assert "source of Scale" in refused
    assert "--new-epoch fresh" in refused
    assert told(deploy.stream, "models", "verify", new)["holds"]
    made = told(deploy.stream, "models", "rebuild", new, "--from", "1/0", "--to", "50")
    assert (made["version"], made["learned"]) == ("2/50", 50)
    assert told(deploy.stream, "models", "verify", new, "2/50")["holds"]
    code = told(deploy.stream, "models", "code", "rolling", "2/50")
    assert code["files"] == {"rolling.py": FILE.format(scale=2.0)}
    differs = millstream(deploy.stream, "models", "code", "rolling", "2/50", "--diff", f"1/{ROWS}")
    assert "carry the same code" in differs
    differs = millstream(deploy.stream, "models", "code", "rolling", "2/50", "--diff", new)
    assert "+++ 2/50:rolling.py" in differs, "and the exit code is 0"
    assert told(deploy.stream, "models", "show", "rolling", f"1/{ROWS}")["files"]["code"]["size"] > 0
    out = deploy.folder / "version.tar"
    millstream(deploy.stream, "models", "export", "rolling", f"1/{ROWS}", "--to", str(out))
    there = Stream(new, deploy.stream.bootstrap, deploy.stream.prefix, deploy.folder / "elsewhere")
    (there.home / "keys").mkdir(parents=True)
    (deploy.stream.home / "keys" / "trusted").rename(there.home / "keys" / "trusted")
    millstream(there, "models", "import", new, str(out))
    assert told(there, "models", "code", "rolling", f"1/{ROWS}")["files"] == code["files"]
