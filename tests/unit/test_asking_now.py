"""Uploaded examples have no served answer: what serves is asked about those that it has not learned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from batch_log import BEGIN_MS, imported, simple_rows, trained
from batch_versions import put_version

from consumers.model.checkpoints import LearnerCheckpoints, Log, Standing
from consumers.model.river_model import wrap
from consumers.trainer.versions import COMPARISON, RANGE_BEGIN, verdict
from millstream.cli.jobs import compared_on
from millstream.estimators.trial import answers_of
from millstream.stream.load import LoadedStream, load_stream
from millstream.stream.processor_rules import definition_of, learning_rules
from millstream.training.asking_now import AskingNow, CannotAsk, Unserved
from model_store import MemoryBackend, ModelStore, Signer, Trust
from runtime.kafka_client.records import PlainRecord
from schemas.events import read_example

STREAM = """
from river import linear_model, preprocessing
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from millstream import BatchModel, Model, Stream

stream = Stream(
    name="mine",
    task="binary",
    model=Model(lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(), sees=["y"]),
    batch={
        "line": BatchModel(lambda: make_pipeline(DictVectorizer(sparse=False), LogisticRegression()), sees=["x", "y"]),
        "half": BatchModel(lambda: make_pipeline(DictVectorizer(sparse=False), LogisticRegression()), sees=["x"]),
        "poor": BatchModel(lambda: make_pipeline(DictVectorizer(), DummyClassifier())),
    },
)
"""
COUNT, TESTED = 400, 80
FIRST = COUNT - TESTED
KEPT = 100  # examples of the version that retention has left
ROWS = simple_rows(COUNT)


class Site:
    """A log of uploaded examples, and versions of what has learned it."""

    def __init__(self, folder: Path) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        file = folder / "mine.py"
        file.write_text(STREAM)
        self.loaded: LoadedStream = load_stream(str(file))
        signer = Signer(Ed25519PrivateKey.generate())
        self.store = ModelStore(MemoryBackend(), Trust.of(signer.public), signer)
        self.log = [imported(n, n, row.features, row.label, BEGIN_MS + n) for n, row in enumerate(ROWS)]
        stream = self.loaded.stream
        checkpoints = LearnerCheckpoints(
            self.store, definition_of(self.loaded), learning_rules(stream), stream.kept_versions
        )
        learning = checkpoints.fresh()
        self.then = None
        for at, record in enumerate(self.log):
            if at in (0, KEPT):
                checkpoints.write(learning, Standing(1, at, Log("topic", 0, COUNT)), "start", at)
            if at == FIRST:
                self.then = wrap(checkpoints.copy(learning).model.model, "binary")
            learning.apply(read_example(record.value or b""), record.offset)
        checkpoints.write(learning, Standing(1, COUNT, Log("topic", 0, COUNT)), "stop", COUNT)

    def batch(self, name: str, count: int, tested: int) -> str:
        """Return a version of a batch model that was trained on so many rows, and tested on the next."""
        rows = ROWS[:count]
        loaded = self.loaded.of_model(name)
        seen = [{key: each.features[key] for key in loaded.stream.sees or each.features} for each in rows]
        extra = {RANGE_BEGIN: 0, COMPARISON: {"from_ms": BEGIN_MS + count}}
        labels = [each.label for each in rows]
        end, to_ms = count + tested, BEGIN_MS + count - 1
        made = put_version(self.store, loaded, 1, seen, labels, end=end, labels_to_ms=to_ms, **extra)
        return str(made.version)

    def asking(self, serving: str) -> AskingNow:
        return AskingNow(self.loaded, self.store, "topic", self._read, serving, print)

    def _read(self, begin: int, end: int) -> Iterator[Sequence[PlainRecord]]:
        assert end <= FIRST, "what was uploaded later is not needed, and not known then"
        yield self.log[begin:end]

    def trained(self, name: str, serving: str, folder: Path) -> dict[str, object]:
        folder.mkdir(exist_ok=True)
        stream = self.loaded.of_model(name).stream
        result = trained(stream, self.log, folder, ask_now=self.asking(serving))
        return {"better": result.better, **result.comparison}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def unserved() -> list[Unserved]:
    return [Unserved(n, BEGIN_MS + n, BEGIN_MS + n, ROWS[n].features) for n in range(FIRST, COUNT)]


def test_a_model_that_learns_is_asked_as_it_stood_before_the_first_of_them(site: Site) -> None:
    name, answers = site.asking("main")(unserved())
    assert site.then is not None
    assert name == f"1/{FIRST}", "retention has left no version of then: it is learned again"
    assert answers == answers_of(site.then, [{"y": ROWS[n].features["y"]} for n in range(FIRST, COUNT)])


def test_a_version_is_asked_about_what_it_has_not_learned(site: Site) -> None:
    name, answers = site.asking(site.batch("line", FIRST + 10, 20))(unserved())
    assert name == f"line:1/{FIRST + 10}"
    assert [place for place, answer in enumerate(answers) if answer is None] == [*range(10)]


def test_a_better_model_is_better_and_a_worse_one_is_not(site: Site, tmp_path: Path) -> None:
    better = site.trained("line", "main", tmp_path / "line")
    assert (better["better"], better["asked"], better["asked_now"]) == (True, f"1/{FIRST}", TESTED)
    assert verdict(better, {"mean": 1, "labels": TESTED}).startswith(
        f"its mean loss (error) on the newest 80 events (80 of which 1/{FIRST} is asked about now) is"
    )
    assert compared_on(better) == f"0 events as served, 80 without a served answer, about which 1/{FIRST} is asked now"
    serving = site.batch("line", FIRST - 100, 50)
    worse = site.trained("poor", serving, tmp_path / "poor")
    assert (worse["better"], worse["asked_now"]) == (False, TESTED)
    # The model that serves is given what it sees, and not only what the new one does.
    half = site.trained("half", serving, tmp_path / "half")
    assert (half["better"], half["asked_now"]) == (False, TESTED)


def test_what_serves_and_has_learned_them_all_gives_no_verdict(site: Site, tmp_path: Path) -> None:
    found = site.trained("half", site.batch("line", COUNT, 0), tmp_path / "half")
    assert (found["better"], found["compared"], found["seen"]) == (None, None, TESTED)
    assert verdict(found, {}) == f"line:1/{COUNT}, which serves, has learned all 80 newest examples: not compared"


@pytest.mark.parametrize(
    ("serving", "why"),
    [("line:7/12", "cannot be asked now"), ("other", "no version of other, which serves, is left from before")],
)
def test_what_cannot_be_asked_is_named_and_fails_no_job(site: Site, serving: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(CannotAsk, match=why):
        site.asking(serving)(unserved())
    found = site.trained("line", serving, tmp_path / "line")
    assert found["better"] is None
    assert why in str(compared_on(found))
