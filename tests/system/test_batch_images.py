"""A daily retrain of an image model as a person does it: PNG files in, retrained, promoted, the old one serving on."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from system.commands import millstream, running, told, traced, until_learned, until_served
from system.oracle import Stream, predictions

DIGITS = load_digits()
FILE = '''
import struct, zlib
from river import naive_bayes
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from millstream import BatchModel, Model, Stream

def pixels(png):
    """Return the grey values of a PNG file, 0 to 1."""
    at, packed = 8, b""
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        body = png[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height = struct.unpack_from(">II", body)
        if kind == b"IDAT":
            packed += body
        at += length + 12
    rows = zlib.decompress(packed)
    return [value / 255 for row in range(height) for value in rows[row * (width + 1) + 1 : (row + 1) * (width + 1)]]

def prepare(sent):
    values = pixels(sent["png"])
    return {"pixels": values, "ink": sum(values)}

stream = Stream(
    name="digits",
    task="multiclass",
    label="digit",
    classes=range(10),
    features={"png": "bytes", "pixels": "vector", "ink": "number"},
    prepare=prepare,
    model=Model(naive_bayes.GaussianNB, sees=["ink"]),
    batch={
        "net": BatchModel(
            lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=50)),
            rows="vector",
            sees=["pixels"],
            deploy="if-better",
            not_more_than="1s",
        )
    },
)
'''


def png(values: Any) -> bytes:
    """Return an image of grey values, 0 to 16, as a PNG file."""
    raw = b"".join(b"\0" + bytes(int(value * 255 / 16) for value in row) for row in values)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", len(values[0]), len(values), 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def rows(path: Path, numbers: Sequence[int], shift: int = 0) -> str:
    """Write labelled images; `shift` moves them to the right, as another scanner does."""
    with path.open("w") as file:
        for number in numbers:
            image = base64.b64encode(png(np.roll(DIGITS.images[number], shift, axis=1))).decode()
            file.write(json.dumps({"png": image, "digit": int(DIGITS.target[number])}) + "\n")
    return str(path)


@pytest.fixture
def stream(bootstrap: str, prefix: str, tmp_path: Path) -> Stream:
    file = tmp_path / "digits.py"
    file.write_text(FILE)
    return Stream(str(file), bootstrap, prefix, tmp_path / "home")


def right(stream: Stream, stem: str, begin: int) -> float:
    """Return the share of right answers to the events of a file, whose ids are its name and their row."""
    said = [each for each in predictions(stream) if each.event.event_id.startswith(f"{stem}-")]
    truth = [DIGITS.target[begin + int(each.event.event_id.split("-")[1]) - 1] for each in said]
    return sum(each.outcome.prediction == digit for each, digit in zip(said, truth, strict=True)) / len(said)


@pytest.mark.full
def test_images_are_answered_while_their_model_is_trained_again(stream: Stream, tmp_path: Path) -> None:
    ref = stream.ref

    def publish(stem: str, numbers: Sequence[int], shift: int = 0) -> None:
        millstream(stream, "publish", ref, rows(tmp_path / f"{stem}.jsonl", numbers, shift), "--rate", "300")

    with running(stream, tmp_path / "run.log"):
        publish("first", range(500))
        until_learned(stream, 500)
        said = predictions(stream)
        assert {each.outcome.error for each in said} == {None}
        assert {tuple(sorted(each.event.features)) for each in said} == {("ink", "pixels")}
        first = told(stream, "train", ref, "net", "--wait")
        assert (first["state"], first["version"]) == ("done", "net:1/400"), first
        until_served(stream, "net:1/400")

        # Of the images of another scanner, labelled ones are uploaded; a job trains, and what served serves on.
        millstream(stream, "import", ref, rows(tmp_path / "new.jsonl", range(500, 1100), 1))
        millstream(stream, "train", ref, "net")
        publish("then", range(1100, 1500), 1)
        until_learned(stream, 1500)
        assert {each.outcome.version for each in predictions(stream)} >= {"net:1/400"}
        second = told(stream, "train", ref, "net", "--wait")
        assert second["state"] == "done", second
        until_served(stream, second["version"])
        publish("last", range(1500, 1600), 1)
        newest = max(predictions(stream), key=lambda each: each.outcome.predicted_at)
        assert newest.outcome.version == second["version"]
        code, found = traced(stream, newest.event.event_id)
        assert (code, found["again"]["equal"]) == (0, True)
        print(f"right: {right(stream, 'then', 1100):.3f} before, {right(stream, 'last', 1500):.3f} after")
        assert right(stream, "last", 1500) > right(stream, "then", 1100) + 0.2
    assert not [each for each in predictions(stream) if each.outcome.error]


@pytest.mark.full
def test_uploaded_images_alone_promote_a_model_and_then_its_next_version(stream: Stream, tmp_path: Path) -> None:
    """Nobody asked for an answer to them: what serves is asked, as it stood before it had learned them."""
    ref = stream.ref
    with running(stream, tmp_path / "run.log"):
        millstream(stream, "import", ref, rows(tmp_path / "first.jsonl", range(500)))
        until_learned(stream, 500)
        first = told(stream, "train", ref, "net", "--wait")
        assert first["deployed"] == "it is better, and serves instead of main", first
        assert "(100 of which 1/400 is asked about now)" in first["reason"]
        # Another scanner: the version that serves has never seen its images.
        millstream(stream, "import", ref, rows(tmp_path / "new.jsonl", range(500, 1100), 1))
        second = told(stream, "train", ref, "net", "--wait")
        assert second["deployed"] == "its model serves, and it is better: it serves now", second
        assert f"(220 of which {first['version']} is asked about now)" in second["reason"]
        millstream(stream, "publish", ref, rows(tmp_path / "then.jsonl", range(1100, 1200), 1), "--rate", "300")
        until_served(stream, second["version"])
    said = millstream(stream, "jobs", "show", ref)
    assert f"0 events as served, 220 without a served answer, about which {first['version']} is asked now" in said
