"""Batch training on real data, as a person does it: prices of electricity, images of digits, texts.

Jobs are asked for and scheduled, a worse model is not promoted, a training done again is equal to the last bit, and an
image model is trained anew on uploaded images while the one before it answers.
"""

from __future__ import annotations

import base64
import io
import json
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from system.commands import lines, millstream, running, told, until_learned
from system.http_server import until
from system.oracle import Stream
from system.serving_rig import serving

from millstream.status.report import served
from millstream.status.snapshot import Observer
from model_store import Manifest, ModelStore, VersionId, open_store
from runtime.kafka_client.cluster import Cluster

ELEC: Final = """
from river import linear_model, preprocessing
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from millstream import BatchModel, Stream


def trees():
    return make_pipeline(DictVectorizer(sparse=False), HistGradientBoostingClassifier(max_iter=40, random_state=1))


def line():
    return make_pipeline(DictVectorizer(sparse=False), StandardScaler(), LogisticRegression())


stream = Stream(
    name="elec",
    task="binary",
    label="class",
    model=lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    slices={"night": "period < 0.25"},
    batch={
        "gbdt": BatchModel(
            trees,
            search={"histgradientboostingclassifier__max_leaf_nodes": [7, 15, 31]},
            candidates=3,
            seed=7,
            deploy="if-better",
        ),
        "poor": BatchModel(lambda: make_pipeline(DictVectorizer(), DummyClassifier()), deploy="if-better"),
        "line": BatchModel(line, every="15s", deploy="by-hand"),
    },
)
"""


def placed(bootstrap: str, prefix: str, folder: Path, name: str, text: str) -> Stream:
    file = folder / f"{name}.py"
    file.write_text(text)
    return Stream(str(file), bootstrap, prefix, folder / "home")


def store_of(stream: Stream) -> ModelStore:
    return open_store(stream.models, stream.home / "keys", sign=False)


def manifest_of(stream: Stream, row: Any) -> Manifest:
    return store_of(stream).manifest(VersionId.parse(row["version"], stream.names.stream))


def trained(stream: Stream, model: str, *words: str) -> Any:
    """Ask for a training and wait for it, as a person does; return the job."""
    row = told(stream, "train", stream.ref, model, "--wait", *words)
    assert row["state"] == "done", row
    return row


def serving_now(stream: Stream) -> str | None:
    with Observer(Cluster(stream.bootstrap), stream.names) as observer:
        return served(observer.look()).served


def publish(stream: Stream, rows: Sequence[str], file: Path, *words: str) -> None:
    file.write_text("\n".join([*rows, ""]))
    millstream(stream, "publish", stream.ref, str(file), "--rate", "600", *words)


@pytest.mark.full
def test_elec2_is_trained_on_compared_and_trained_again(
    bootstrap: str, prefix: str, tmp_path: Path, elec_path: Path
) -> None:
    stream = placed(bootstrap, prefix, tmp_path, "elec", ELEC)
    with elec_path.open() as data:
        header, *rows = (line.rstrip("\n") for line in islice(data, 3_701))
    with running(stream, tmp_path / "run.log"):
        publish(stream, [header, *rows[:3000]], tmp_path / "first.csv", "--label-delay", "48")
        until_learned(stream, 3000)
        job = trained(stream, "gbdt")
        honest(stream, job)
        worse = trained(stream, "poor")
        assert worse["result"]["better"] is False
        assert worse["deployed"] == "a challenger: it is not better"
        assert not str(serving_now(stream)).startswith("poor:")

        again = trained(stream, "gbdt", "--from", str(job["claim"]["begin"]), "--to", str(job["claim"]["end"]))
        equal_to_the_last_bit(stream, job, again)

        publish(stream, [header, *rows[3000:]], tmp_path / "then.csv", "--label-delay", "48")
        until_learned(stream, 3700)
        compared = until_compared(stream, 600)
        assert {"main", "gbdt", "poor"} <= {each["model"] for each in compared["results"]}
        ranked(stream, job, worse)
        until(lambda: scheduled(stream), "a job of the schedule that has trained")


def honest(stream: Stream, job: Any) -> None:
    """Insist that a version serves exactly if the whole interval of what it is better by is above 0."""
    result = job["result"]
    gain = result["comparison"]["compared"]["gain"]
    assert result["better"] is (gain["low"] is not None and gain["low"] > 0)
    assert job["deployed"].startswith("it is better" if result["better"] else "a challenger: it is not better")
    if result["better"]:
        until(lambda: serving_now(stream) == job["version"], "the better version serves")
    assert result["left_out"]["tested"] == 600
    assert {each["rung"] for each in result["table"]} == {0, 1}


def equal_to_the_last_bit(stream: Stream, job: Any, again: Any) -> None:
    first, second = manifest_of(stream, job), manifest_of(stream, again)
    assert (second.version.epoch, second.version.examples) == (first.version.epoch + 1, first.version.examples)
    for name in ("parameters", "probe", "seed", "tolerance"):
        assert second.extra[name] == first.extra[name], name
    assert (second.chain, second.fingerprint, second.offset) == (first.chain, first.fingerprint, first.offset)
    verified = told(stream, "models", "verify", stream.ref, job["version"])
    assert verified == {
        "version": job["version"],
        "from": job["version"],
        "replayed": job["claim"]["end"] - job["claim"]["begin"],
        "examples": True,
        "chain": True,
        "answers": True,
        "holds": True,
    }


def until_compared(stream: Stream, events: int) -> Any:
    found: list[Any] = []

    def compared() -> bool:
        found[:] = [told(stream, "models", "compare", stream.ref, "main", "gbdt", "poor")]
        return bool(found[0]["as_served"] and found[0]["measured"] >= events)

    until(compared, f"{events} events that all models have answered")
    return found[0]


def ranked(stream: Stream, job: Any, worse: Any) -> None:
    """Evaluate both versions behind what they were trained on, and on what one has learned."""
    end = job["claim"]["end"]
    words = ("models", "evaluate", stream.ref, job["version"], worse["version"])
    report = told(stream, *words, "--from", str(max(end, worse["claim"]["end"])), "--by", "night")
    ranks = {each["version"]: (each["rank"], each["seen"]) for each in report["versions"]}
    assert ranks == {job["version"]: (1, 0), worse["version"]: (2, 0)}
    assert [each["value"] for each in report["slices"]] == ["false", "true"]
    live = next(each for each in report["results"] if each["kind"] == "live")
    assert live["counted"] == report["measured"] == report["served"] == 700
    seen = told(stream, *words, "main", "--to", str(end))
    assert {each["rank"] for each in seen["versions"]} == {None}
    learner, first, _ = sorted(seen["versions"], key=lambda each: str(each["version"]))
    assert (learner["seen"], learner["tested"]) == (seen["measured"], 0), "a learner's newest has learned all of them"
    # Events whose predictions came in the millisecond in which the test part begins count as learned, too.
    assert job["result"]["examples"] <= first["seen"] < first["seen"] + first["tested"] == seen["measured"]


def scheduled(stream: Stream) -> bool:
    rows = [each for each in lines(stream, "jobs", "list", stream.ref) if each["model"] == "line"]
    done = [each for each in rows if each["state"] == "done"]
    assert all(re.fullmatch(r"line\.\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", each["id"]) for each in rows)
    assert all(each["by"] == "schedule" for each in rows)
    return bool(done) and not str(serving_now(stream)).startswith("line:")


# --- images ---------------------------------------------------------------------------------------------

DIGITS: Final = """
import base64
import io

import numpy as np
from PIL import Image
from river import dummy
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from millstream import BatchModel, Stream


def prepare(sent):
    png = sent["image"]  # in JSON over HTTP a text, base64
    if isinstance(png, str):
        png = base64.b64decode(png)
    with Image.open(io.BytesIO(png)) as image:
        pixels = np.asarray(image, dtype=np.float64).reshape(-1)
    return {"pixels": pixels / 255}


stream = Stream(
    name="digits",
    task="multiclass",
    id="id",
    label="digit",
    model=dummy.NoChangeClassifier,
    features={"image": "bytes", "pixels": "vector"},
    prepare=prepare,
    batch={
        "image": BatchModel(
            lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
            rows="vector",
            deploy="if-better",
        )
    },
)
"""
_FEW, _MORE, _TOLD = 60, 900, 300


class Digit:
    """An image as a PNG, with its label."""

    def __init__(self, number: int, pixels: Any, digit: int) -> None:
        from PIL import Image

        png = io.BytesIO()
        Image.fromarray((pixels * 15).astype("uint8")).save(png, format="PNG")
        self.id, self.digit = f"digit-{number}", digit
        self.sent = base64.b64encode(png.getvalue()).decode()

    @property
    def row(self) -> str:
        return json.dumps({"id": self.id, "image": self.sent, "digit": self.digit})

    @property
    def event(self) -> dict[str, Any]:
        return {"event_id": self.id, "features": {"image": self.sent}}


@pytest.fixture
def digits() -> list[Digit]:
    pytest.importorskip("PIL")
    from sklearn.datasets import load_digits

    found = load_digits()
    return [
        Digit(number, pixels, int(digit))
        for number, (pixels, digit) in enumerate(zip(found.images, found.target, strict=True))
    ]


@pytest.mark.full
def test_an_image_model_is_trained_again_on_uploaded_images_while_the_old_one_answers(
    bootstrap: str, prefix: str, tmp_path: Path, digits: list[Digit]
) -> None:
    stream = placed(bootstrap, prefix, tmp_path, "digits", DIGITS)
    with serving(stream, tmp_path) as site, httpx.Client(base_url=site.base, timeout=30) as client:
        upload(client, digits[:_FEW])
        first = trained(stream, "image")
        assert first["deployed"] == "a challenger: it is not better"  # twelve rows are too few to say so
        millstream(stream, "models", "promote", stream.ref, "image", "--why", "the first one")
        until(lambda: serving_now(stream) == first["version"], "the first image model serves")
        ids = map(str, count())
        until(
            lambda: answer(client, digits[0], f"warm-{next(ids)}")["version"] == first["version"], "the server has it"
        )

        upload(client, digits[_FEW:_MORE])
        told_digits = digits[_MORE : _MORE + _TOLD]
        right = [answer(client, each)["prediction"] == each.digit for each in told_digits]
        for each in told_digits:
            client.post("/v1/labels", json={"event_id": each.id, "value": each.digit}).raise_for_status()
        until_learned(stream, _MORE + _TOLD)
        with asking(client, digits[_MORE + _TOLD :]) as answers:
            second = trained(stream, "image")
            assert second["result"]["better"] is True
            assert second["deployed"] == "its model serves, and it is better: it serves now"
            until(lambda: answers and answers[-1][0] == second["version"], "the new one answers")
            before = len(answers)
            until(lambda: len(answers) >= before + 50, "it goes on answering")
        versions = [version for version, _ in answers]
        assert set(versions) == {first["version"], second["version"]}
        assert versions == sorted(versions, key=versions.index), "none goes back to the old one"
        assert versions.count(first["version"]) > 20, "the old one answered while the new one was trained"
        new = [correct for version, correct in answers if version == second["version"]]
        assert sum(new) / len(new) > 0.85 > sum(right) / len(right)
        verified = told(stream, "models", "verify", stream.ref, second["version"])
        assert (verified["answers"], verified["holds"]) == (True, True)


def upload(client: httpx.Client, several: Sequence[Digit]) -> None:
    rows = "\n".join(each.row for each in several).encode()
    found = client.post("/v1/uploads", params={"wait": "30s", "name": "digits.jsonl"}, content=rows).json()
    assert (found["state"], found["taken"], found["refused"]) == ("imported", len(several), 0), found


def answer(client: httpx.Client, digit: Digit, event_id: str | None = None) -> Any:
    found = client.post("/v1/predict", json={**digit.event, "event_id": event_id or digit.id})
    assert found.status_code == 200, found.text
    return found.json()


@contextmanager
def asking(client: httpx.Client, several: Sequence[Digit]) -> Iterator[list[tuple[str, bool]]]:
    """Ask for answers until the end, one after the other; yield the version and whether it was right, as they come."""
    answers: list[tuple[str, bool]] = []
    failed: list[BaseException] = []
    stop = threading.Event()

    def ask() -> None:
        try:
            while not stop.is_set():
                for number, each in enumerate(several):
                    said = answer(client, each, f"{each.id}-{len(answers)}-{number}")
                    answers.append((said["version"], said["prediction"] == each.digit))
                    if stop.is_set():
                        return
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failed.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join(60)
    assert not failed, failed


# --- texts ----------------------------------------------------------------------------------------------

TEXTS: Final = """
from river import feature_extraction, naive_bayes
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import make_pipeline

from millstream import BatchModel, Stream


def hashing():
    return make_pipeline(
        make_column_transformer((HashingVectorizer(n_features=2**14), "text")),
        SGDClassifier(loss="log_loss", random_state=1),
    )


stream = Stream(
    name="pages",
    task="multiclass",
    label="page",
    model=lambda: feature_extraction.BagOfWords(on="text") | naive_bayes.MultinomialNB(),
    batch={"hashing": BatchModel(hashing, rows="frame")},
)
"""
PAGES: Final = ("http", "kubernetes", "monitoring")


def sentences() -> list[tuple[str, str]]:
    """Return sentences of three pages of the documentation with their page, in turns."""
    folder = Path(__file__).parents[2] / "docs"
    found = []
    for page in PAGES:
        several = re.split(r"(?<=[.:])\s+|\n\n|\|", (folder / f"{page}.md").read_text())
        found.append([(" ".join(each.split()), page) for each in several if len(each.split()) > 4])
    least = min(map(len, found))
    return [each for together in zip(*(page[:least] for page in found), strict=True) for each in together]


@pytest.mark.full
def test_texts_are_learned_by_hashing(bootstrap: str, prefix: str, tmp_path: Path) -> None:
    stream = placed(bootstrap, prefix, tmp_path, "pages", TEXTS)
    several = sentences()
    rows = [json.dumps({"text": text, "page": page}) for text, page in several]
    with running(stream, tmp_path / "run.log"):
        publish(stream, rows, tmp_path / "pages.jsonl", "--label-delay", "10")
        until_learned(stream, len(rows))
        job = trained(stream, "hashing")
        tested = job["result"]["comparison"]["tested"]
        assert tested["events"] == round(0.2 * len(rows))
        assert tested["metrics"]["Accuracy"] > 0.55, "a third would be chance"
        found = told(stream, "models", "verify", stream.ref, job["version"])
        assert (found["answers"], found["holds"]) == (True, True)
        millstream(stream, "models", "promote", stream.ref, "hashing")
        until(lambda: serving_now(stream) == job["version"], "the model of texts serves")
        publish(stream, rows[-30:], tmp_path / "again.jsonl")
        report = told(stream, "models", "evaluate", stream.ref, "hashing", "--from", str(job["claim"]["end"]))
        assert (report["measured"], report["versions"][0]["seen"]) == (30, 0)
        assert agreeing(report, job["version"]), "it answers in the evaluation as it was served"


def agreeing(report: Any, version: str) -> bool:
    values: Callable[[str], dict[str, float]] = lambda name: next(  # noqa: E731
        {metric: each["value"] for metric, each in result["metrics"].items()}
        for result in report["results"]
        if result["name"] == name
    )
    return values(version) == values("as served")
