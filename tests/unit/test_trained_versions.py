"""From a result to a signed version: read by the list, tried, and refused where it is not what it says."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from batch_log import records, simple_rows, stream_with, trained
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from unit.store_parts import store_on

from consumers.model.version_files import ESTIMATOR_FILE, Definition
from consumers.model.version_loader import load_face
from consumers.model.version_runtime import RunWith, try_out
from consumers.trainer.deploying import deploy, end_detail
from consumers.trainer.training_messages import ESTIMATOR, TrainingResult
from consumers.trainer.trainings import InForce, NoWork
from consumers.trainer.versions import VersionMaker
from model_store import MemoryBackend, StoreUnavailable
from schemas.jobs import Claim, Job
from schemas.topics import Names

JOB = Job("gbdt.1", "tree", "", "ann", 5)
CLAIM = Claim(3, "topic", 0, 300)
DEFINITION = Definition("mine.tree", "d" * 64, "c" * 64, code=b"the code")


class Made:
    """A result in its folder, and the store that its version comes into."""

    def __init__(self, folder: Path) -> None:
        from sklearn.feature_extraction import DictVectorizer

        stream = stream_with(lambda: make_pipeline(DictVectorizer(sparse=False), LogisticRegression(random_state=1)))
        self.folder = folder
        self.result = trained(stream, records(simple_rows(300)), folder)
        self.store = store_on(MemoryBackend())
        self.maker = VersionMaker(self.store, DEFINITION, "binary", lambda: 1_000)

    def make(self, claim: Claim = CLAIM, **changed: Any) -> Any:
        result = msgspec.structs.replace(self.result, **changed)
        assert isinstance(result, TrainingResult)
        return self.maker.make(JOB, claim, result, self.folder)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def test_a_version_says_what_it_was_made_of_and_answers_as_it_did(made: Made) -> None:
    found = made.make()
    [version] = made.store.versions("mine.tree")
    manifest = made.store.manifest(version)
    assert found.version == f"tree:3/{made.result.examples}" == f"tree:{version.epoch}/{version.examples}"
    assert (manifest.topic_id, manifest.offset, manifest.reason) == ("topic", 300, "job")
    assert manifest.extra["range_begin"] == 0
    assert manifest.extra["job"] == "gbdt.1"
    assert manifest.extra["comparison"] == made.result.comparison
    assert {*manifest.files} == {ESTIMATOR_FILE, "code"}
    assert found.published.manifest_sha256 == made.store.manifest_sha256(version)
    assert found.published.metrics["Accuracy"] > 0.5
    assert found.better is True
    assert 0 < found.evidence["low"] < found.evidence["mean"] < found.evidence["high"]
    assert found.why.startswith("its mean loss (error) on the newest 60 events is ")
    try_out(load_face(made.store, manifest, RunWith.own(DEFINITION), "binary"), manifest)


def test_the_same_result_again_is_the_same_version_and_another_is_refused(made: Made) -> None:
    first = made.make()
    later = replace(made.maker, clock=lambda: 2_000)
    again = later.make(JOB, CLAIM, made.result, made.folder)
    assert (again.version, again.published) == (first.version, first.published)
    with pytest.raises(NoWork, match="is in the store already, and is another one"):
        made.make(chain="f" * 64)
    with pytest.raises(NoWork, match="is in the store already"):
        made.make(Claim(3, "topic", 0, 299))
    assert len(made.store.versions("mine.tree")) == 1


def test_what_does_not_answer_as_it_says_is_not_signed(made: Made) -> None:
    with pytest.raises(NoWork, match="does not answer as it did"):
        made.make(probed="f" * 64)
    with pytest.raises(NoWork, match="form of its rows"):
        made.make(form={"rows": "sheets"})
    assert made.store.versions("mine.tree") == []


def test_a_pickle_is_neither_run_nor_signed(made: Made, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "executed",)

    (made.folder / ESTIMATOR).write_bytes(pickle.dumps(Evil()))
    with pytest.raises(NoWork):
        made.make()
    assert not (tmp_path / "executed").exists()
    assert made.store.versions("mine.tree") == []


def test_a_store_that_is_away_is_no_fault_of_the_job(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*arguments: Any) -> Any:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(made.store, "publish", away)
    with pytest.raises(StoreUnavailable):
        made.make()


@pytest.mark.parametrize("how", ["link", "pipe", "folder", "large", "gone"])
def test_what_is_no_plain_file_is_not_read(how: str, made: Made, tmp_path: Path) -> None:
    file = made.folder / ESTIMATOR
    data = file.read_bytes()
    file.unlink()
    if how == "link":
        (tmp_path / "elsewhere").write_bytes(data)
        file.symlink_to(tmp_path / "elsewhere")
    elif how == "pipe":
        os.mkfifo(file)
    elif how == "folder":
        file.mkdir()
    elif how == "large":
        file.write_bytes(data)
        os.truncate(file, 1 << 40)
    with pytest.raises(NoWork, match=r"the training has left no valid file: estimator\.skops"):
        made.make()
    assert made.store.versions("mine.tree") == []


def test_a_file_that_is_replaced_after_the_check_is_not_signed(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    data = (made.folder / ESTIMATOR).read_bytes()
    tried = VersionMaker._try

    def replacing(self: VersionMaker, *given: Any) -> None:
        tried(self, *given)
        (made.folder / ESTIMATOR).write_bytes(b"another")

    monkeypatch.setattr(VersionMaker, "_try", replacing)
    made.make()
    [version] = made.store.versions("mine.tree")
    assert made.store.read(made.store.manifest(version), ESTIMATOR_FILE) == data


def test_metrics_that_are_larger_than_a_record_are_refused(made: Made) -> None:
    with pytest.raises(NoWork, match="too many metrics"):
        made.make(comparison={"tested": {"metrics": {f"metric {n}": 1.0 for n in range(20_000)}}})


@pytest.mark.parametrize(
    "changed",
    [
        {"comparison": {"by": "x" * 2_000_000, "compared": {"gain": {"value": 1.0}}}},
        {"notes": ["x" * 2_000_000], "left_out": {"y" * 2_000_000: 1}},
    ],
)
def test_a_result_that_is_larger_than_a_record_is_shortened(changed: dict[str, Any], made: Made) -> None:
    found, now = made.make(**changed), InForce("mine")
    deployed = deploy(Names("mine"), "if-better", found, now, 5)
    assert all(len(each.value or b"") < 900_000 for each in deployed.outputs)
    assert len(msgspec.json.encode(end_detail(found, deployed))) < 900_000
