"""`millstream evaluate`: values are River's own to the last digit, intervals cover, rows that are refused are named."""

from __future__ import annotations

import csv
import datetime as dt
import json
import random
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from river import datasets, evaluate, metrics

import millstream
from consumers.model.evaluation import default_metrics
from millstream.cli import app as cli
from millstream.evaluation.evaluate import CannotEvaluate
from millstream.evaluation.intervals import estimate
from millstream.evaluation.slices import NoSlices
from millstream.stream.load import load_stream
from millstream.stream.stream import Stream
from producers.file_formats import open_source
from producers.rows import SourceSpec


def pairs(stream: Stream, place: str, limit: int | None = None) -> Iterator[tuple[dict[str, Any], Any]]:
    spec = SourceSpec(target=stream.target, label=stream.label, contract=stream.contract)
    for number, row in enumerate(open_source(place, spec).rows()):
        if limit is not None and number == limit:
            return
        yield row.features, stream.target.coerce(row.label)  # type: ignore[arg-type]


def by_river(stream: Stream, rows: Any, **how: Any) -> dict[str, float]:
    several = metrics.base.Metrics(default_metrics(stream.task))
    evaluate.progressive_val_score(rows, stream.model(), several, **how)
    return {type(each).__name__: float(each.get()) for each in several}


def values(report: Any, name: str) -> dict[str, float]:
    return {metric: each.value for metric, each in report.result(name).metrics.items()}


def stream_file(folder: Path, name: str = "mine", **more: str) -> str:
    given = {"name": f'"{name.replace("_", "-")}"', "task": '"binary"', "label": '"y"', **more}
    given.setdefault("model", "lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression()")
    text = ", ".join(f"{key}={value}" for key, value in given.items())
    path = folder / f"{name}.py"
    path.write_text(
        "from river import linear_model, preprocessing\nfrom millstream import Labels, Stream\n"
        f"stream = Stream({text})\n"
    )
    return str(path)


def table(folder: Path, rows: Sequence[Sequence[object]], *names: str) -> str:
    path = folder / "rows.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    return str(path)


DATA = [
    ("phishing", "river:Phishing"),
    ("bananas", "river:Bananas"),
    ("trump-approval", "river:TrumpApproval"),
    ("image-segments", "river:ImageSegments"),
]


@pytest.mark.parametrize(("name", "place"), DATA)
def test_values_are_those_of_river_with_and_without_a_delay(name: str, place: str) -> None:
    stream = load_stream(name).stream
    rows = list(pairs(stream, place))
    at_once = by_river(stream, rows)
    assert values(millstream.evaluate(name, on=place), f"{name}, progressive") == at_once
    late = millstream.evaluate(name, on=place, label_delay=50)
    assert values(late, f"{name}, delayed") == by_river(stream, rows, delay=50)
    assert values(late, f"{name}, progressive") == at_once


@pytest.mark.full
def test_elec2_is_evaluated_as_by_river(elec_path: Path) -> None:
    stream = load_stream("elec2").stream
    rows = list(pairs(stream, str(elec_path)))
    assert values(millstream.evaluate("elec2", on=elec_path), "elec2, progressive") == by_river(stream, rows)
    report = millstream.evaluate("elec2", on=elec_path, label_delay=48)
    assert values(report, "elec2, delayed") == by_river(stream, rows, delay=48)


def test_a_delay_in_time_goes_by_the_times_of_the_events(tmp_path: Path) -> None:
    rng = random.Random(3)
    begin = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    minutes = sorted(rng.randrange(3000) for _ in range(400))
    rows = [(begin + dt.timedelta(minutes=each), rng.gauss(0, 1)) for each in minutes]
    labelled = [(when.isoformat(), x, int(x + rng.gauss(0, 1) > 0)) for when, x in rows]
    file = table(tmp_path, labelled, "at", "x", "y")
    name = stream_file(tmp_path, "timed_rows", time='"at"')
    moments = iter([when for when, _ in rows])
    theirs = by_river(
        load_stream(name).stream,
        [({"x": x}, bool(label)) for _, x, label in labelled],
        moment=lambda x: next(moments),
        delay=dt.timedelta(hours=1),
    )
    assert values(millstream.evaluate(name, on=file, label_delay="1h"), "timed_rows, delayed") == theirs
    with pytest.raises(CannotEvaluate, match="needs the time of each event"):
        millstream.evaluate("phishing", on="river:Phishing", label_delay="1h")


def test_the_baselines_know_the_labels_that_had_come(tmp_path: Path) -> None:
    labels = [number // 10 % 2 for number in range(400)]
    file = table(tmp_path, [(number, label) for number, label in enumerate(labels)], "x", "y")
    name = stream_file(tmp_path, "blocks_of_ten")
    report = millstream.evaluate(name, on=file, label_delay=10)
    # Ten rows later the label is always the other one; at once it is wrong at each change only.
    assert values(report, "last label")["Accuracy"] == 0.0
    assert values(millstream.evaluate(name, on=file), "last label")["Accuracy"] == 1 - 39 / 399


def test_two_models_are_measured_on_the_same_rows_and_compared(tmp_path: Path) -> None:
    rng = random.Random(5)
    xs = [rng.gauss(0, 1) for _ in range(1500)]
    file = table(tmp_path, [(x, int(x + rng.gauss(0, 1) > 0)) for x in xs], "x", "y")
    good = stream_file(tmp_path, "good_one")
    narrow = stream_file(
        tmp_path, "narrow_one", model="lambda: linear_model.LogisticRegression(l2=1e6)", features='{"x": "number"}'
    )
    report = millstream.evaluate(good, narrow, on=file, by="x")
    last = report.comparisons[-1]
    assert (last.of, last.than) == ("narrow_one, progressive", "good_one, progressive")
    assert last.verdicts["ROCAUC"] == "worse"
    ours = values(report, "good_one, progressive")["Accuracy"]
    apart = last.metrics["Accuracy"]
    assert apart.value == values(report, "narrow_one, progressive")["Accuracy"] - ours
    assert apart.low is not None
    assert apart.low < apart.value < (apart.high or 0)
    assert sum(each.counted for each in report.slices) == 1500
    weighed = sum(each.counted * (each.metrics["good_one, progressive"]["Accuracy"] or 0) for each in report.slices)
    assert weighed / 1500 == pytest.approx(ours)
    with pytest.raises(CannotEvaluate, match="only models of the same labels"):
        millstream.evaluate(good, "trump-approval", on=file)


def test_what_is_refused_is_counted_and_named(tmp_path: Path) -> None:
    rows: list[tuple[object, object]] = [(number % 7, number % 2) for number in range(60)]
    rows[9], rows[20], rows[30] = (3, "perhaps"), ("", 1), (99, 1)
    file = table(tmp_path, rows, "x", "y")
    feature = 'Feature(type="number", maximum=50, required=True)'
    name = stream_file(tmp_path, "refuses", features=f'{{"x": __import__("millstream").{feature}}}')
    report = millstream.evaluate(name, on=file)
    unreadable, refused = report.refused
    assert (unreadable.count, list(unreadable.first)) == (1, ["line 11"])
    assert (refused.count, refused.model) == (2, "refuses")
    assert "is required" in " ".join(refused.first.values()) or "is missing" in " ".join(refused.first.values())
    assert "above 50" in " ".join(refused.first.values())
    assert (report.rows, report.measured) == (60, 57)


BREAKS = """
from river import base
from millstream import Stream

class Breaks(base.Classifier):
    def __init__(self): self.n = 0
    def learn_one(self, x, y):
        if x["x"] == 13: raise RuntimeError("thirteen")
        self.n += 1
    def predict_proba_one(self, x): return {True: 0.5, False: 0.5}

stream = Stream(name="breaks", task="binary", label="y", model=Breaks)
"""


def test_a_row_that_breaks_the_model_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "breaks_on.py").write_text(BREAKS)
    file = table(tmp_path, [(number, number % 2) for number in range(40)], "x", "y")
    report = millstream.evaluate(tmp_path / "breaks_on.py", on=file)
    assert report.measured == 39
    ((where, reason),) = report.refused[0].first.items()
    assert where == "row 14"
    assert "broke the model and was left out: RuntimeError: thirteen" in reason
    many = table(tmp_path, [(13, number % 2) for number in range(40)], "x", "y")
    with pytest.raises(CannotEvaluate, match=r"more than 20 rows .* break the model"):
        millstream.evaluate(tmp_path / "breaks_on.py", on=many)


def test_intervals_cover_the_truth_where_neighbours_are_alike() -> None:
    covered = 0
    for seed in range(200):
        rng = random.Random(seed)
        state, right = False, []
        for _ in range(3000):
            state = rng.random() < 0.7 if rng.random() < 0.1 else state  # runs of about ten rows
            right.append(state)
        blocks = [right[at : at + 150] for at in range(0, 3000, 150)]
        total = sum(right)
        found = estimate(total / 3000, [(total - sum(each)) / 2850 for each in blocks])
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.7 <= found.high
    assert 0.90 <= covered / 200 <= 0.99


@pytest.mark.full
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    name = stream_file(tmp_path, "flat_memory")
    peaks = []
    for count in (3000, 12_000):
        file = table(tmp_path, [(number % 11, number % 2) for number in range(count)], "x", "y")
        tracemalloc.start()
        millstream.evaluate(name, on=file, label_delay=20)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 500_000


def test_the_page_needs_nothing_beside_it(tmp_path: Path) -> None:
    report = millstream.evaluate("phishing", on="river:Phishing", label_delay=50)
    text = report.html(tmp_path / "page.html").read_text()
    assert text.count("<svg xmlns") == 4
    assert not any(word in text for word in ("<script", "<link", "src=", "url("))
    assert "phishing, delayed" in text
    assert "phishing, delayed" in str(report)
    assert text.count("prefers-color-scheme: dark") == 2
    # Tables and curves scroll by themselves, so that the page does not on a small screen.
    assert text.count('<div class="wide"') == text.count("<table>") + 4


def test_the_picture_is_a_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report = millstream.evaluate("phishing", on="river:Phishing")
    assert report.png(tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (("--on", "river:Phishing"), "name at least one stream file", 2),
        (("phishing", "--on", "nothere.csv"), "nothere.csv does not exist", 1),
        (("phishing", "--on", "river:Phishing", "--label-delay", "soon"), "is not a duration", 2),
        (("phishing", "--on", "river:Phishing", "--by", "colour"), "no row looked at has a value", 1),
        (("phishing", "--on", "river:Phishing", "--html", "/nowhere/at/all.html"), "there is no folder", 2),
    ],
)
def test_an_error_is_one_line(words: tuple[str, ...], said: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(("evaluate", *words)) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_the_command_prints_tables_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(("evaluate", "phishing", "--on", "river:Phishing", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    (progressive,) = [each for each in found["results"] if each["kind"] == "model"]
    assert (
        progressive["metrics"]["Accuracy"]["value"]
        == by_river(load_stream("phishing").stream, datasets.Phishing())["Accuracy"]
    )
    assert cli.run(("evaluate", "phishing", "--on", "river:Phishing")) == 0
    assert "phishing, progressive against last label: better in" in capsys.readouterr().out


def test_lists_have_no_slices(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"v": [1, 2], "x": n, "y": n % 2}) + "\n" for n in range(9)))
    with pytest.raises(NoSlices, match="values are lists"):
        millstream.evaluate(stream_file(tmp_path, "lists_in"), on=file, by="v")
