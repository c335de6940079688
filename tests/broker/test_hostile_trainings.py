"""Estimators that misbehave in every way a library can: the job says why in one line, and the trainer lives on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from broker.batch_jobs import Batch
from loop_helpers import put

from millstream.reading.jobs import read_states
from runtime.kafka_client.cluster import Cluster
from schemas.jobs import Job

STREAM = '''
import ctypes, json, os, subprocess, sys, time
from pathlib import Path
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from river import linear_model
from millstream import BatchModel, Stream

HERE = Path(__file__).parent
def model(act, **more):
    """Return a batch model whose fit does something first."""
    class Acting(LogisticRegression):
        def fit(self, X, y):
            act()
            return super().fit(X, y)
    return BatchModel(lambda: make_pipeline(DictVectorizer(sparse=False), Acting()), **more)

def good():
    return make_pipeline(DictVectorizer(sparse=False), LogisticRegression(random_state=1))

def note(name, value):
    with open(HERE / name, "a") as file:
        print(json.dumps(value), file=file)

def raises(error):
    raise error

def prints(megabytes):
    for _ in range(megabytes):
        os.write(1, b"x" * (1 << 20))

def forks():
    pid = os.fork()
    if not pid:
        time.sleep(600)
        os._exit(0)
    note("forked", pid)

def escapes():
    """Begin a session of its own, without the environment, and give it to another parent."""
    code = (
        "import os, time; os.setsid(); pid = os.fork(); pid and (print(pid, flush=True), os._exit(0));"
        "os.close(1); time.sleep(600)"
    )
    said = subprocess.run([sys.executable, "-c", code], env={}, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    note("escaped", int(said.stdout))

def moves():
    os.chdir("/")
    os.close(1)
    os.open("/dev/null", os.O_WRONLY)
    print("into nothing")

def imports():
    import no_such_module

def hangs():
    time.sleep(600)

def holds():
    whole = []
    while True:
        whole.append(bytearray(b"x") * (16 << 20))

def looks():
    """Note all that this process could read of the key."""
    key = HERE.joinpath("keys", "signing.pem")
    found = {"environment": dict(os.environ), "open": [], "read": [], "memory": []}
    for number in os.listdir("/proc/self/fd"):
        try:
            found["open"].append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            pass
    for path in (key, HERE / "keys" / ".." / "keys" / "signing.pem", f"/proc/{os.getppid()}/root{key}",
                     f"/proc/{os.getppid()}/mem"):
        try:
            with open(path, "rb") as file:
                found["read"].append(f"{path}: {file.read(4)}")
        except OSError:
            pass
    try:
        os.link(key, HERE / "linked")
        found["read"].append((HERE / "linked").read_text()[:4])
    except OSError:
        pass
    note("looked", found)

if "MILLSTREAM_TRAINER_PID" in os.environ:  # each process that trains does this, whatever it trains
    for act in (looks, forks, escapes, moves):
        act()
    prints(8)

stream = Stream(name="mine", task="binary", model=linear_model.LogisticRegression, batch={
    "good": BatchModel(good),
    "prints": model(lambda: prints(1024)),
    "imports": model(imports),
    "exits": model(lambda: sys.exit("bye")),
    "ends": model(lambda: os._exit(0)),
    "crashes": model(lambda: ctypes.string_at(0)),
    "raises": model(lambda: raises(ValueError("a" * 3_000_000 + chr(27) + "[31m red"))),
    "lines": model(lambda: raises(ValueError("first" + chr(10) + "second"))),
    "hangs": model(hangs, longest="3s"),
    "holds": model(holds, memory="700MiB"),
    "asks": model(lambda: bytearray(1 << 40)),
    "unsaved": model(lambda: None),
})
'''
# Model: state, and a part of the line that says why.
EXPECTED = {
    "good": ("done", ""),
    "prints": ("failed", "the fitted estimator cannot be a version: the estimator cannot be saved"),
    "imports": ("failed", "ModuleNotFoundError: No module named 'no_such_module'"),
    "exits": ("failed", "the estimator cannot be fitted: SystemExit: bye"),
    "ends": ("failed", "3 attempts have ended without a result, the last one: it has ended with exit code 0"),
    "crashes": ("failed", "3 attempts have ended without a result, the last one: it was killed by SIGSEGV"),
    "raises": ("failed", "the estimator cannot be fitted: ValueError: aaaa"),
    "lines": ("failed", "the estimator cannot be fitted: ValueError: first second"),
    "hangs": ("failed", "it has taken longer than longest=3 s, and was ended"),
    "holds": ("failed", "of memory, and may hold 700 MiB: give it more (memory=)"),
    "asks": ("failed", "it asked for more memory at once than its limit: give it more (memory=)"),
    "unsaved": ("failed", "the fitted estimator cannot be a version: the estimator cannot be saved"),
}
FEW = ("good", "lines")


@pytest.fixture
def batch(home: Path, cluster: Cluster, prefix: str, environment: dict[str, str], run: Callable[..., Any]) -> Batch:
    return Batch.made(home, cluster, prefix, environment, run, STREAM)


def noted(batch: Batch, name: str) -> list[Any]:
    return [json.loads(line) for line in (batch.home / name).read_text().splitlines()]


def alive(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def left_behind(batch: Batch) -> Iterator[str]:
    """Yield files of trainings that are still there."""
    for folder, _, files in os.walk(batch.home / "state"):
        yield from (f"{folder}/{file}" for file in files if "trainer-0/" in f"{folder}/{file}")


def insist(batch: Batch, models: tuple[str, ...]) -> None:
    with batch.trainer() as process:
        jobs = {model: batch.ask(model) for model in models}
        for model, job in jobs.items():
            batch.until(lambda job=job: not batch.job(job).open, 240)  # type: ignore[misc]
            code, row, _ = batch.run("jobs", "show", str(batch.file), job)
            state, why = EXPECTED[model]
            assert (code, row["state"]) == (0, state), (model, row["reason"], batch.said()[-3000:])
            assert why in row["reason"], (model, row["reason"][:500])
            assert row["reason"].isprintable(), model
            assert len(row["reason"]) < 3000, model
            assert process.poll() is None, (model, "the trainer lives on")
            assert psutil.Process(process.pid).memory_info().rss < 600 << 20, model
        assert not [*left_behind(batch)]


def nothing_is_left(batch: Batch) -> None:
    assert noted(batch, "forked")
    assert not [pid for name in ("forked", "escaped") for pid in noted(batch, name) if alive(pid)]
    for found in noted(batch, "looked"):
        assert found["read"] == [], "it could read the key, or the trainer's memory"
        assert not [each for each in found["open"] if "signing.pem" in each]
    assert (batch.home / "keys" / "signing.pem").exists()


def test_a_process_that_a_training_leaves_behind_is_ended_and_the_key_is_out_of_its_reach(batch: Batch) -> None:
    insist(batch, FEW)
    nothing_is_left(batch)


@pytest.mark.full
def test_whatever_an_estimator_does_the_job_says_so_in_one_line_and_the_trainer_lives_on(batch: Batch) -> None:
    insist(batch, tuple(EXPECTED))
    nothing_is_left(batch)


def test_a_file_that_was_changed_while_the_trainer_ran_fails_the_job_and_not_the_trainer(batch: Batch) -> None:
    with batch.trainer() as process:
        batch.until(lambda: "ready: " in batch.said())
        whole = batch.file.read_text()
        for changed, why in (
            (whole.replace("random_state=1", "random_state=2"), "has changed since the trainer has started"),
            (whole + "\nthis is no Python\n", "invalid syntax"),
        ):
            batch.file.write_text(changed)
            job = Job(f"good.{len(changed)}", "good", "", "ann", 1)
            put(batch.cluster, batch.names.topic("jobs"), [job.encode()])
            batch.until(lambda job=job: job.id in read_states(batch.cluster, batch.names))  # type: ignore[misc]
            known = batch.until_ended(job.id, 240)
            assert known.state == "failed"
            assert known.ending is not None
            assert why in known.ending.why, known.ending.why
            assert known.ending.why.isprintable()
            assert known.attempts == 1
        assert process.poll() is None
        batch.file.write_text(whole)
        assert batch.until_ended(batch.ask("good"), 240).state == "done"
