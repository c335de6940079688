"""`millstream evaluate --on STREAM`: values over a log are River's own, in the log's order, to the last digit."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from broker.phishing_loop import looping, serve
from kafka_fixture import new_prefix
from loop_helpers import put
from raw_kafka import raw_producer
from river import compose, evaluate, metrics, preprocessing, tree
from whole_loop import PARTITIONS, WholeLoop

import millstream
from consumers.model.evaluation import default_metrics
from millstream.cli import app as cli
from millstream.topics import admin
from runtime.kafka_client.cluster import NoBroker
from schemas.events import Example
from schemas.topics import Names
from streams.phishing import stream as phishing

WAVES = 4
OTHER = """
from river import preprocessing, tree
from millstream import Stream

stream = Stream(name="forest", task="binary", label="is_phishing", model=lambda: (
    preprocessing.StandardScaler() | tree.HoeffdingTreeClassifier(grace_period=20)))
"""
FEATURE = "age_of_domain"


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


@pytest.fixture(scope="module")
def log(loop: WholeLoop) -> list[Example]:
    """Return the log's entries that have a label, in its order, as the Avro library decodes them."""
    found = [each for each in loop.examples() if each.label is not None]
    assert len(found) > WAVES * 30
    return found


def other_model() -> compose.Pipeline:
    return preprocessing.StandardScaler() | tree.HoeffdingTreeClassifier(grace_period=20)


def fresh() -> metrics.base.Metrics:
    return metrics.base.Metrics(default_metrics("binary"))


def plain(several: metrics.base.Metrics) -> dict[str, float]:
    return {type(each).__name__: float(each.get()) for each in several}


def by_river(log: list[Example], model: Callable[[], Any], **how: Any) -> dict[str, float]:
    several = fresh()
    rows = [(each.event.features, each.label.value) for each in log if each.label is not None]
    evaluate.progressive_val_score(rows, model(), several, **how)
    return plain(several)


def served_by_river(log: list[Example]) -> dict[str, float]:
    """Return River's metrics over the answers that stand in the log."""
    several = fresh()
    for each in log:
        if each.label is None or each.outcome is None or each.outcome.prediction is None:
            continue
        shares = {name == "true": share for name, share in (each.outcome.probabilities or {}).items()}
        for metric in several:
            metric.update(each.label.value, each.outcome.prediction if metric.requires_labels else shares)
    return plain(several)


def values(report: Any, name: str) -> dict[str, float]:
    return {metric: each.value for metric, each in report.result(name).metrics.items()}


def test_answers_and_served_answers_are_measured_as_by_river(log: list[Example]) -> None:
    report = millstream.evaluate("phishing", on="phishing")
    assert report.measured == len(log)
    assert values(report, "phishing, progressive") == by_river(log, phishing.model)
    assert values(report, "served live") == served_by_river(log)
    answered = [each for each in log if each.outcome is not None and each.outcome.prediction is not None]
    assert report.result("served live").counted == len(answered) > 0


def test_labels_that_come_later_are_learned_as_by_river(log: list[Example]) -> None:
    late = millstream.evaluate("phishing", on="phishing", label_delay=7)
    assert values(late, "phishing, delayed") == by_river(log, phishing.model, delay=7)
    assert values(late, "phishing, progressive") == by_river(log, phishing.model)
    times = [each.joined.prediction_time for each in log if each.joined is not None]
    assert len(times) == len(log)
    for delay, theirs in (("20ms", dt.timedelta(milliseconds=20)), ("1h", dt.timedelta(hours=1))):
        moments = iter([dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(milliseconds=each) for each in times])
        found = millstream.evaluate("phishing", on="phishing", label_delay=delay)
        expected = by_river(log, phishing.model, moment=lambda x, at=moments: next(at), delay=theirs)
        assert values(found, "phishing, delayed") == expected


def test_several_models_are_each_measured_as_by_river(log: list[Example], tmp_path: Path) -> None:
    (tmp_path / "forest.py").write_text(OTHER)
    report = millstream.evaluate("phishing", "forest.py", on="phishing", label_delay=5)
    for name, model in (("phishing", phishing.model), ("forest", other_model)):
        assert values(report, f"{name}, delayed") == by_river(log, model, delay=5)
        assert values(report, f"{name}, progressive") == by_river(log, model)
    both = millstream.evaluate("phishing", "forest.py", on="phishing")
    assert values(both, "forest, progressive") == by_river(log, other_model)
    assert values(both, "served live") == served_by_river(log)


def test_slices_are_measured_as_by_river(log: list[Example]) -> None:
    report = millstream.evaluate("phishing", on="phishing", by=FEATURE)
    model: Any = phishing.model()
    sliced: dict[str, metrics.base.Metrics] = defaultdict(fresh)
    for each in log:
        assert each.label is not None
        features, truth = dict(each.event.features), each.label.value
        shares = model.predict_proba_one(features)
        for metric in sliced[str(features[FEATURE])]:
            metric.update(truth, max(shares, key=shares.get) if metric.requires_labels else shares)
        model.learn_one(features, truth)
    found = {each.value: each.metrics["phishing, progressive"] for each in report.slices}
    assert found == {value: plain(several) for value, several in sliced.items()}
    assert len(found) > 1


def test_repeats_corrections_and_junk_on_the_log_are_not_measured(
    loop: WholeLoop, log: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names("phishing", loop.names.prefix + "odd-")
    admin.create(loop.cluster, names, partitions=PARTITIONS, label_wait_ms=phishing.labels.wait_ms)
    assert log[20].label is not None
    corrected = msgspec.structs.replace(
        log[20],
        lane=msgspec.structs.replace(log[20].lane, name="corrections", sequence=0),
        label=msgspec.structs.replace(log[20].label, value=not log[20].label.value, kind="correction"),
    )
    entries = [each.encode() for each in log]
    put(
        loop.cluster,
        names.topic("examples"),
        [*entries[:60], *entries[40:60], b"junk", corrected.encode(), *entries[60:]],
    )
    monkeypatch.setenv("MILLSTREAM_PREFIX", names.prefix)
    report = millstream.evaluate("phishing", on="phishing")
    assert report.measured == len(log)
    assert values(report, "phishing, progressive") == by_river(log, phishing.model)
    (unreadable,) = report.refused
    assert (unreadable.count, list(unreadable.first)) == (1, ["offset 80"])


def test_a_log_that_grows_is_read_up_to_where_it_ended(loop: WholeLoop, log: list[Example]) -> None:
    names = Names("grows", loop.names.prefix)
    admin.create(loop.cluster, names, partitions=PARTITIONS, label_wait_ms=phishing.labels.wait_ms)
    topic, entries = names.topic("examples"), [each.encode() for each in log]
    put(loop.cluster, topic, entries)
    more = iter(range(10))
    with closing(raw_producer(loop.cluster)) as producer:

        def grow(done: int, total: int | None) -> None:
            assert total == len(entries)
            if next(more, None) is not None:
                producer.send(topic, b"written while it is read", partition=0)
                producer.flush()

        from millstream.evaluation.open_rows import LogRows, evaluate_on, named_models

        report = evaluate_on(named_models(["phishing"]), LogRows(loop.cluster, names, 1), None, None, grow)
    assert (report.measured, report.refused) == (len(log), [])


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (("phishing", "--on", "no-such-stream"), "there is no stream 'no-such-stream'", 1),
        (("phishing", "--on", "phishing", "--by", "colour"), "no row looked at has a value", 1),
        (("trump-approval", "phishing", "--on", "phishing"), "only models of the same labels can be compared", 1),
    ],
)
def test_an_error_is_one_line(words: tuple[str, ...], said: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(("evaluate", *words)) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_model_of_another_task_is_told_from_a_broken_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(("evaluate", "trump-approval", "--on", "phishing")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "could be measured" in line


def test_a_cluster_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLSTREAM_BOOTSTRAP", "localhost:1")
    with pytest.raises(NoBroker, match="localhost:1"):
        millstream.evaluate("phishing", on="phishing")
