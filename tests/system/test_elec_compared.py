"""Elec2 with two challengers, each label a day late in event time: every labelled event is compared, once and rightly.

The values of `models compare` are computed here from predictions, shadows and labels, and each shadow answer again from
the versions in the store.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from compared_values import (
    NEAR,
    Event,
    answers_of,
    at_any_time,
    brier,
    by_river,
    delay_of,
    jackknife,
    losses_apart,
    mean,
    model_name,
)
from faults.rig import Rig
from faults.shadow_oracle import comparisons, insist, shadows
from raw_kafka import raw_producer
from system.oracle import read_all
from system.test_elec_of_others import Row, rows

from millstream.cli import app as cli
from millstream.processes.fork_server import ForkServer
from schemas import events
from schemas.codec import TICK
from schemas.comparisons import Comparison
from schemas.events import Label
from schemas.topics import partition_of

_WHOLE_S = 600.0  # the shadow role and the judge answer 45,312 events, on two cores that others use as well
MODELS: Final = ("main", "tree", "line")
DAY: Final = 48  # events: one each half hour
TOGETHER: Final = 4 * DAY  # events that are sent before the next labels
DAY_MS: Final = 86_400_000
PARTITIONS: Final = 2
FILE: Final = """
from river import linear_model, optim, preprocessing, tree

from millstream import Checkpoints, Labels, Model, Promote, Retention, Stream, Validation


def regression(optimizer=None):
    return preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer or optim.SGD(0.1))


stream = Stream(
    name="elec-compared",
    task="binary",
    label="class",
    model=regression,
    models={
        "tree": Model(lambda: tree.HoeffdingAdaptiveTreeClassifier(seed=1)),
        "line": Model(lambda: regression(optim.Adam()), sees=["nswprice", "nswdemand", "vicprice"]),
    },
    slices={"night": "period < 0.25", "large": "transfer > 0.5"},
    promote=Promote(loss="brier"),
    labels=Labels(wait="2d"),
    checkpoints=Checkpoints(every="500ms", keep=Retention(last=100_000)),
    validation=Validation(bounds="off"),
    partitions=2,
)
"""


def is_unlabelled(row: Row) -> bool:
    return row.number % 17 == 3


def is_corrected(row: Row) -> bool:
    return row.number % 50 == 7


def is_held(row: Row) -> bool:
    """Say whether a label waits for the end of the whole data, which is more than a minute."""
    return row.number % 40 == 11


@dataclass
class Feed:
    """Sends events, and the label of each when the event of a day later has been answered."""

    rig: Rig
    producer: Any
    hold: bool
    sent: int = 0
    labelled: int = 0
    held: list[Row] = field(default_factory=list)

    def send(self, data: Sequence[Row]) -> None:
        for begin in range(0, len(data), TOGETHER):
            self.events(data[begin : begin + TOGETHER])
            self.labels(data[: self.sent - DAY])
        self.labels(data)
        for row in self.held:
            self.label(row)
        # A correction that comes before the shadow answer is merged with the label: there would be one comparison.
        due = sum(not is_unlabelled(row) for row in data)
        self.rig.until(lambda: self.rig.counted["comparisons"] >= due, f"{due} comparisons", _WHOLE_S)
        for row in filter(is_corrected, data):
            self.label(row, "correction")
        self.producer.flush(60)

    def events(self, some: Sequence[Row]) -> None:
        for row in some:
            event = events.Event(row.event_id, int(row.at.timestamp() * 1000), {**row.features})
            self.put("features", row, event.encode())
        self.sent += len(some)
        self.producer.flush(60)
        self.rig.until(lambda: self.rig.counted["predictions"] >= self.sent, f"{self.sent} answers")

    def labels(self, until: Sequence[Row]) -> None:
        for row in until[self.labelled :]:
            if self.hold and is_held(row):
                self.held.append(row)
            elif not is_unlabelled(row):
                self.label(row)
        self.labelled = max(self.labelled, len(until))

    def label(self, row: Row, kind: Any = "label") -> None:
        if is_unlabelled(row):
            return
        value = row.up if kind == "label" else not row.up
        label = Label(row.event_id, value, int(row.at.timestamp() * 1000) + DAY_MS, kind=kind)
        self.put("labels", row, label.encode())

    def put(self, kind: str, row: Row, value: bytes) -> None:
        key = row.event_id.encode()
        topic = self.rig.names.topic(kind)
        self.producer.send(topic, value, key, partition=partition_of(row.event_id, PARTITIONS))


@pytest.fixture
def rig(bootstrap: str, prefix: str, tmp_path: Path, fork_server: ForkServer) -> Iterator[Rig]:
    """Lend a rig with all roles of the stream at work."""
    file = tmp_path / "elec_compared.py"
    file.write_text(FILE)
    with Rig(bootstrap, prefix, tmp_path, fork_server, ref=file) as rig:
        for role in ("predictor", "joiner", "learner", "learner.tree", "learner.line", "shadow", "judge", "referee"):
            rig.start(role)
        rig.until(lambda: all("ready: " in each.said() for each in rig.members.values()), "all to be at work")
        yield rig


@pytest.fixture
def compare(rig: Rig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    for variable, value in rig.stream.environment().items():
        if variable.startswith("MILLSTREAM_"):
            monkeypatch.setenv(variable, value)

    def call(*words: str) -> Any:
        assert cli.run(("models", "compare", rig.stream.ref, *words, "--json")) == 0
        return json.loads(capsys.readouterr().out)

    return call


def compared(rig: Rig, data: Sequence[Row], *, hold: bool) -> list[Event]:
    """Send all, wait until it is compared, and return what the models answered, in the order of the comparisons."""
    with closing(raw_producer(rig.cluster, linger_ms=5)) as producer:
        Feed(rig, producer, hold).send(data)
    labelled = [row for row in data if not is_unlabelled(row)]
    due = len(labelled) + sum(map(is_corrected, labelled))
    rig.until(lambda: rig.counted["comparisons"] >= due, f"{due} comparisons", _WHOLE_S)
    found = comparisons(rig.stream)
    insist_on_each_once(rig, found, labelled)
    return asked_all(rig, found)


def insist_on_each_once(rig: Rig, found: Sequence[Comparison], labelled: Sequence[Row]) -> None:
    """Every event is shadowed; each with a label is compared once with it, and once more with a correction."""
    shadowed = Counter(shadow.event.event_id for _, shadow in shadows(rig.stream))
    assert set(shadowed.values()) == {1}
    assert shadowed.keys() >= {row.event_id for row in labelled}
    kinds: dict[str, Counter[tuple[str, Any]]] = {"label": Counter(), "correction": Counter()}
    for each in found:
        assert each.label is not None
        kinds[each.label.kind][each.shadow.event.event_id, each.label.value] += 1
    assert kinds["label"] == Counter((row.event_id, row.up) for row in labelled)
    assert kinds["correction"] == Counter((row.event_id, not row.up) for row in filter(is_corrected, labelled))
    times = {row.event_id: int(row.at.timestamp() * 1000) for row in labelled}
    assert {each.label.label_time - times[each.shadow.event.event_id] for each in found if each.label} == {DAY_MS}


def asked_all(rig: Rig, found: Sequence[Comparison]) -> list[Event]:
    """Return the labelled events that all models were asked, joined here; only their order is that of the judge."""
    values: dict[str, bool] = {}
    times: dict[str, int] = {}
    for record in read_all(rig.stream.bootstrap, rig.names.topic("labels")):
        if not record.value.startswith(TICK.header):
            label = events.read_label(record.value)
            values[label.event_id] = bool(label.value)
            times.setdefault(label.event_id, record.timestamp)
    predicted = {
        events.read_prediction(record.value).event.event_id: record.timestamp
        for record in read_all(rig.stream.bootstrap, rig.names.topic("predictions"))
    }
    known = {shadow.event.event_id: shadow for _, shadow in shadows(rig.stream)}
    ordered = [each.shadow.event.event_id for each in found if each.label and each.label.kind == "label"]
    made = [
        Event(known[each], values[each], max(0, times[each] - predicted[each]), True, answers_of(known[each]))
        for each in ordered
    ]
    return [each for each in made if set(MODELS) <= set(each.answers)]


def insist_on_values(report: Any, paired: Sequence[Event]) -> None:
    """Metrics, losses, differences and their bounds are those of River and of their definitions."""
    assert (report["as_served"], report["champion"], report["measured"]) == (True, "main", len(paired))
    assert report["served"] == Counter(model_name(each.shadow.outcome.model) for each in paired)
    lines = {each["name"]: each["metrics"] for each in report["results"]}
    for model in MODELS:
        expected = {"loss": mean([brier(each, model) for each in paired]), **by_river(paired, model)}
        assert {name: each["value"] for name, each in lines[model].items()} == pytest.approx(expected, **NEAR)
    assert [pair["of"] for pair in report["pairs"]] == ["tree", "line"]
    middle = sorted(each.delay_ms for each in paired)[(len(paired) - 1) // 2]
    for pair in report["pairs"]:
        of = pair["of"]
        apart = losses_apart(paired, of, "main")
        low, high = jackknife(apart, report["blocks"])
        assert pair["loss"] == pytest.approx({"value": mean(apart), "low": low, "high": high}, **NEAR)
        assert pair["at_any_time"] == pytest.approx(at_any_time(paired, of, "main"), **NEAR)
        quick = losses_apart([each for each in paired if each.delay_ms <= middle], of, "main")
        slow = losses_apart([each for each in paired if each.delay_ms > middle], of, "main")
        assert (len(quick), len(slow)) == (report["quick_counted"], report["slow_counted"])
        assert pair["quick"]["value"] == pytest.approx(mean(quick), **NEAR)
        assert pair["slow"]["value"] == pytest.approx(mean(slow), **NEAR)


def insist_on_parts(report: Any, parts: dict[str, list[Event]]) -> None:
    """Each slice of the report has its events, and their metrics, losses and differences."""
    assert {each["value"]: each["counted"] for each in report["slices"]} == {key: len(of) for key, of in parts.items()}
    for found, apart in zip(report["slices"], report["sliced_pairs"], strict=True):
        some = parts[found["value"]]
        for model in MODELS:
            expected = {"loss": mean([brier(each, model) for each in some]), **by_river(some, model)}
            assert found["metrics"][model] == pytest.approx(expected, **NEAR)
        for model in MODELS[1:]:
            value = mean(losses_apart(some, model, "main"))
            assert apart["losses"][model]["value"] == pytest.approx(value, **NEAR)


def by_delay(paired: Sequence[Event]) -> dict[str, list[Event]]:
    parts: dict[str, list[Event]] = {}
    for event in paired:
        parts.setdefault(delay_of(event), []).append(event)
    return parts


def by_slice(paired: Sequence[Event]) -> dict[str, list[Event]]:
    parts: dict[str, list[Event]] = {}
    for event in paired:
        for name, value in event.shadow.slices.items():
            parts.setdefault(f"{name}: {value}", []).append(event)
    return parts


def test_the_beginning_of_elec2_is_compared_once_and_as_computed_from_the_topics(
    rig: Rig, compare: Callable[..., Any], elec_path: Path
) -> None:
    data = rows(elec_path, 3_000)
    paired = compared(rig, data, hold=False)
    assert len(paired) > 500  # how many depends on when the challengers have versions
    assert insist(rig.stream, models=len(MODELS)) == len(data)
    report = compare("--by", "delay")
    insist_on_values(report, paired)
    insist_on_parts(report, by_delay(paired))


@pytest.mark.full
def test_all_of_elec2_is_compared_once_and_as_computed_from_the_topics(
    rig: Rig, compare: Callable[..., Any], elec_path: Path
) -> None:
    data = rows(elec_path, 50_000)
    assert len(data) == 45_312
    paired = compared(rig, data, hold=True)
    assert len(paired) > 40_000
    assert insist(rig.stream, models=len(MODELS)) == len(data)
    report = compare("--by", "delay")
    insist_on_values(report, paired)
    # How many classes of delay there are depends on how fast this machine is.
    parts = by_delay(paired)
    assert sum(map(len, parts.values())) == len(paired)
    insist_on_parts(report, parts)
    parts = by_slice(paired)
    assert len(parts) == 4
    insist_on_parts(compare("--by", "slice"), parts)
