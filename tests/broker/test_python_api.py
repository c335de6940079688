"""The Python interface against a stream at work, and the notebook that shows it."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import pytest
from broker.phishing_loop import looping, serve
from kafka_fixture import new_prefix
from raw_kafka import raw_producer
from river import compose
from whole_loop import WholeLoop

import millstream
from millstream.stream.errors import LoadError
from millstream.version_code.choice import OtherCode
from model_store import Damaged, NotFound, VersionRefused
from runtime.kafka_client.cluster import NoBroker
from streams.phishing import stream as phishing

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "notebooks" / "look_at_a_stream.ipynb"
WAVES = 3


@pytest.fixture(scope="module")
def home(client: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def loop(bootstrap: str, home: Path) -> Iterator[WholeLoop]:
    with looping(bootstrap, new_prefix(), home) as running:
        serve(running, WAVES)
        yield running


@pytest.fixture(autouse=True)
def here(loop: WholeLoop, home: Path, bootstrap: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in (("HOME", str(home)), ("BOOTSTRAP", bootstrap), ("PREFIX", loop.names.prefix)):
        monkeypatch.setenv(f"MILLSTREAM_{name}", value)
    monkeypatch.chdir(tmp_path)


def test_rows_are_those_of_the_log(loop: WholeLoop) -> None:
    written = loop.examples()
    rows = millstream.examples("phishing")
    assert [row.event_id for row in rows] == [each.event.event_id for each in written]
    assert [row.features for row in rows] == [each.event.features for each in written]
    assert [row.label for row in rows] == [each.label.value for each in written if each.label is not None]
    newest = [row.offset for row in millstream.examples(phishing, last=5)]
    assert newest == [row.offset for row in rows][-5:]
    assert [row.offset for row in millstream.examples("phishing", limit=3)] == [0, 1, 2]
    assert len(list(millstream.predictions("phishing"))) == len(loop.predictions())


def test_a_frame_says_what_the_rows_say() -> None:
    for rows in (
        millstream.examples("phishing"),
        millstream.predictions("phishing"),
        millstream.dead_letters("phishing"),
    ):
        frame = rows.to_pandas()
        each = list(rows)
        assert len(frame) == len(each) > 0
        assert frame["offset"].tolist() == [row.offset for row in each]
        assert [stamp.value // 10**6 for stamp in frame["timestamp"]] == [row.timestamp for row in each]
    assert len(millstream.predictions("phishing", last=7).to_pandas()) == 7


def test_an_unreadable_record_is_a_warning(loop: WholeLoop) -> None:
    with closing(raw_producer(loop.cluster)) as producer:
        producer.send(loop.names.topic("dead-letters"), b"junk")
        producer.flush()
    rows = millstream.dead_letters("phishing")
    for read in (list, millstream.Rows.to_pandas):
        with pytest.warns(
            UserWarning, match=r"1 record of dead-letters of phishing cannot be read: left out; the first, at offset"
        ):
            found: Any = read(rows)
        assert len(found) > 0
        [(partition, _, reason)] = rows.unreadable
        assert partition == 0
        assert "4 bytes" in reason


def test_a_model_answers_as_it_did(tmp_path: Path) -> None:
    served = [row for row in millstream.predictions("phishing") if row.prediction is not None]
    version = served[-1].version
    for stream in ("phishing", phishing):
        model = millstream.model(stream, version)
        assert model.version == version
        for row in served:
            if row.version == version:
                answer = model.predict(row.features)
                assert (answer.value, answer.wire_probabilities()) == (row.prediction, row.probabilities)
    newest = millstream.model("phishing")
    assert (newest.stream, isinstance(newest.river, compose.Pipeline)) == ("phishing", True)
    assert newest.metrics
    with pytest.raises(NotFound, match="there is no version 9/9 of phishing in this store; the newest is"):
        millstream.model("phishing", "9/9")


def test_the_policy_of_code_is_kept(tmp_path: Path) -> None:
    changed = tmp_path / "changed.py"
    changed.write_text(
        "from river import linear_model\nfrom millstream import Stream\n"
        "stream = Stream(name='phishing', task='binary', model=linear_model.Perceptron, label='is_phishing')\n"
    )
    assert millstream.model(changed).carried
    assert not millstream.model("phishing").carried
    with pytest.raises(OtherCode, match="start this with --code version"):
        millstream.model(changed, code="own")


def test_a_changed_version_is_refused(home: Path, loop: WholeLoop) -> None:
    version = str(loop.store.versions("phishing")[-1]).split()[-1]
    manifest = loop.store.manifest(loop.store.versions("phishing")[-1])
    digest = manifest.files["model"].sha256
    [file] = [each for each in home.rglob("*") if each.is_file() and digest in each.name]
    whole = file.read_bytes()
    file.chmod(0o600)
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        with pytest.raises(VersionRefused) as error:
            millstream.model("phishing", version)
        assert isinstance(error.value, Damaged)
    finally:
        file.write_bytes(whole)


def test_what_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"there is no stream 'fishing'.*did you mean phishing"):
        list(millstream.examples("fishing"))
    with pytest.raises(NotFound, match="no versions of fishing in this store"):
        millstream.model("fishing")
    with pytest.raises(TypeError, match="3 is no stream"):
        millstream.examples(3)  # type: ignore[arg-type]
    monkeypatch.delenv("MILLSTREAM_BOOTSTRAP")
    with pytest.raises(NoBroker, match="millstream broker start"):
        list(millstream.examples("phishing", home=tmp_path / "nowhere"))


@pytest.mark.filterwarnings("ignore:1 record of dead-letters")  # of the test before, if that ran first
def test_the_notebook_runs(tmp_path: Path) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names: dict[str, Any] = {}
    shown: list[Any] = []
    for number, cell in enumerate(json.loads(NOTEBOOK.read_text())["cells"]):
        if cell["cell_type"] == "code":
            shown.append(run_cell("".join(cell["source"]), f"cell {number}", names))
    figures = [plt.figure(number) for number in plt.get_fignums()]
    assert len(figures) == 2
    for number, figure in enumerate(figures):
        figure.savefig(tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").stat().st_size > 10_000
    plt.close("all")
    tables = [each for each in shown if isinstance(each, pd.DataFrame)]
    assert [len(each) > 0 for each in tables] == [True, True, True, True]
    assert 0 < names["right"].mean() <= 1


def run_cell(source: str, name: str, names: dict[str, Any]) -> Any:
    """Run a cell, and return the value of its last line, as a notebook shows it."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), names)  # noqa: S102 - the notebook is ours
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), name, "eval"), names)  # noqa: S307
    return None
