"""`millstream models compare` on a real Kafka: its values are those of an independent computation from the topics."""

from __future__ import annotations

import json
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from compared_events import DAY, HOUR, MINUTE, PARTITIONS, WAIT_MS, Drawn, comparisons, drawn, stream_file
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
from loop_helpers import put, warmed

from millstream.cli import app as cli
from millstream.topics import admin
from schemas.topics import Names

MODELS = ("main", "forest", "tree")
EVENTS = 900


@pytest.fixture(scope="module")
def home(client: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def begin_ms(client: str) -> int:
    return time.time_ns() // 1_000_000 - 4 * DAY


@pytest.fixture(scope="module")
def events(client: str, begin_ms: int) -> list[Drawn]:
    return drawn(EVENTS, begin_ms)


@pytest.fixture(scope="module")
def names(client: str, bootstrap: str, home: Path, events: list[Drawn]) -> Names:
    """Write the topics of a stream with three models, with repeats and junk on them."""
    cluster = warmed(bootstrap)
    names = Names("fraud", f"compare-{home.parent.name.replace('_', '-')}-", models=("forest", "tree"))
    admin.create(cluster, names, partitions=PARTITIONS, label_wait_ms=WAIT_MS)
    put(cluster, names.topic("shadows"), [each.shadow.encode() for each in events], PARTITIONS)
    records = comparisons(events)
    put(cluster, names.topic("comparisons"), [*records[:300], *records[250:300], b"junk", *records[300:]])
    return names


@pytest.fixture(autouse=True)
def here(names: Names, home: Path, bootstrap: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in (("HOME", str(home)), ("BOOTSTRAP", bootstrap), ("PREFIX", names.prefix)):
        monkeypatch.setenv(f"MILLSTREAM_{name}", value)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def known(client: str) -> dict[tuple[str, ...], Any]:
    """Return the reports that tests have asked for: each takes seconds."""
    return {}


@pytest.fixture
def compare(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], known: dict[tuple[str, ...], Any]
) -> Callable[..., Any]:
    file = stream_file(tmp_path)

    def call(*words: str) -> Any:
        if words not in known:
            assert cli.run(("models", "compare", file, *words, "--json")) == 0
            known[words] = json.loads(capsys.readouterr().out)
        return known[words]

    return call


def asked(events: list[Drawn], models: tuple[str, ...] = MODELS) -> list[Event]:
    """Return the labelled events that all models were asked, in the order of their labels."""
    found = []
    for each in events:
        if each.delay_ms is None and not each.timed_out:
            continue
        label = each.label if each.corrected is None else each.corrected
        delay = WAIT_MS if each.timed_out else each.delay_ms
        assert delay is not None
        answers = answers_of(each.shadow)
        if set(models) <= set(answers):
            found.append(Event(each.shadow, label, delay, not each.timed_out, answers))
    return sorted(found, key=lambda each: each.shadow.time + each.delay_ms)


def values(report: Any, model: str) -> dict[str, float]:
    (found,) = [each for each in report["results"] if each["name"] == model]
    return {metric: each["value"] for metric, each in found["metrics"].items()}


def test_metrics_and_losses_are_those_of_an_independent_computation(compare: Any, events: list[Drawn]) -> None:
    report, paired = compare(), asked(events)
    assert (report["as_served"], report["champion"], report["measured"]) == (True, "main", len(paired))
    assert report["left_out"] == {"forest": len(asked(events, ("main", "tree"))) - len(paired)} != {"forest": 0}
    assert report["served"] == Counter(model_name(each.shadow.outcome.model) for each in paired)
    assert report["loss"] == {"name": "brier", "bound": 1.0, "level": 0.025}
    for model in MODELS:
        expected = {"loss": mean([brier(each, model) for each in paired]), **by_river(paired, model)}
        assert values(report, model) == pytest.approx(expected, **NEAR)
    (refused,) = report["refused"]
    assert (refused["count"], list(refused["first"])) == (1, ["offset 350"])


def test_differences_and_their_intervals_are_those_of_an_independent_computation(
    compare: Any, events: list[Drawn]
) -> None:
    report, paired = compare(), asked(events)
    middle = statistics.median_low([each.delay_ms for each in paired])
    assert report["quick_within_ms"] == middle
    assert [each["of"] for each in report["pairs"]] == ["forest", "tree"]
    for pair in report["pairs"]:
        apart = losses_apart(paired, pair["of"], "main")
        quick = [each for each, event in zip(apart, paired, strict=True) if event.delay_ms <= middle]
        slow = [each for each, event in zip(apart, paired, strict=True) if event.delay_ms > middle]
        low, high = jackknife(apart, report["blocks"])
        assert pair["loss"] == pytest.approx({"value": mean(apart), "low": low, "high": high}, **NEAR)
        assert pair["quick"]["value"] == pytest.approx(mean(quick), **NEAR)
        assert pair["slow"]["value"] == pytest.approx(mean(slow), **NEAR)
        assert (len(quick), len(slow)) == (report["quick_counted"], report["slow_counted"])


def test_bounds_at_any_time_are_those_of_the_rule(compare: Any, events: list[Drawn]) -> None:
    paired = asked(events)
    for pair in compare()["pairs"]:
        assert pair["at_any_time"] == pytest.approx(at_any_time(paired, pair["of"], "main"), **NEAR)


def test_baselines_know_the_labels_that_had_come(compare: Any, events: list[Drawn]) -> None:
    report, paired = compare(), asked(events)
    last, often = [], []
    for number, event in enumerate(paired):
        known = [each.label for each in paired[:number] if each.shadow.time + each.delay_ms <= event.shadow.time]
        if known:
            last.append((known[-1] - event.label) ** 2)
            often.append((sum(known) / len(known) - event.label) ** 2)
    # With more than 256 times a baseline may know slightly fewer labels than it could.
    assert values(report, "last label")["loss"] == pytest.approx(mean(last), abs=0.02)
    assert values(report, "class frequencies")["loss"] == pytest.approx(mean(often), abs=0.002)


def test_slices_delays_and_hours_are_those_of_an_independent_computation(compare: Any, events: list[Drawn]) -> None:
    paired = asked(events)
    slices: dict[str, list[Event]] = defaultdict(list)
    hours: dict[str, list[Event]] = defaultdict(list)
    delays: dict[str, list[Event]] = defaultdict(list)
    for event in paired:
        for facet, value in event.shadow.slices.items():
            slices[f"{facet}: {value}"].append(event)
        hours[f"{event.shadow.time // HOUR % 24:02}:00 UTC"].append(event)
        delays[delay_of(event)].append(event)
    for by, expected in (("slice", slices), ("hour", hours), ("delay", delays)):
        report = compare("--by", by)
        assert {each["value"]: each["counted"] for each in report["slices"]} == {
            key: len(some) for key, some in expected.items()
        }
        for found, apart in zip(report["slices"], report["sliced_pairs"], strict=True):
            some = expected[found["value"]]
            for model in MODELS:
                loss = mean([brier(each, model) for each in some])
                assert found["metrics"][model]["loss"] == pytest.approx(loss, **NEAR)
                accuracy = by_river(some, model)["Accuracy"]
                assert found["metrics"][model]["Accuracy"] == pytest.approx(accuracy, **NEAR)
            forest = mean([brier(each, "forest") - brier(each, "main") for each in some])
            assert apart["losses"]["forest"]["value"] == pytest.approx(forest, **NEAR)
    assert len(hours) == 24


def test_labels_by_age_count_all_shadowed_events(compare: Any, events: list[Drawn]) -> None:
    report = compare()
    now = time.time_ns() // 1_000_000
    for each in report["label_ages"]:
        old = [event for event in events if event.shadow.time <= now - each["age_ms"]]
        came = [event for event in old if event.delay_ms is not None and not event.timed_out]
        assert each["events"] == len(old)
        assert each["labelled"] == sum(event.delay_ms <= each["age_ms"] for event in came if event.delay_ms is not None)
    assert [each["age_ms"] for each in report["label_ages"]] == [MINUTE, 10 * MINUTE, HOUR, 6 * HOUR, DAY]


def test_a_period_holds_the_events_that_were_predicted_in_it(compare: Any, events: list[Drawn], begin_ms: int) -> None:
    low, high = begin_ms + 3 * HOUR, begin_ms + 12 * HOUR
    report = compare("forest", "--from", str(low), "--to", str(high))
    inside = [each for each in asked(events, ("main", "forest")) if low <= each.shadow.time < high]
    assert report["measured"] == len(inside) > 100
    assert [each["name"] for each in report["results"] if each["kind"] == "model"] == ["main", "forest"]
    for model in ("main", "forest"):
        assert values(report, model)["loss"] == pytest.approx(mean([brier(each, model) for each in inside]), **NEAR)


def test_windows_are_consecutive_parts(compare: Any, events: list[Drawn]) -> None:
    report, paired = compare(), asked(events)
    at = 0
    for window in report["windows"]:
        some = paired[at : at + window["counted"]]
        at += window["counted"]
        assert window["metrics"]["tree"]["loss"] == pytest.approx(mean([brier(each, "tree") for each in some]), **NEAR)
    assert at == len(paired)


def test_tables_page_and_picture_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = stream_file(tmp_path)
    code = cli.run(("models", "compare", file, "--by", "slice", "--html", "c.html", "--png", "c.png"))
    said = capsys.readouterr()
    assert code == 0, said.err
    page = (tmp_path / "c.html").read_text()
    for text in (
        "main (serving)",
        "Difference of the loss",
        "forest − main",
        "By window",
        "large: true",
        "events so old",
    ):
        assert text in said.out
        assert text in page
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_a_difference_on_quick_labels_alone_is_warned_of(
    bootstrap: str, names: Names, begin_ms: int, compare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    misleading = Names("fraud", f"{names.prefix}quick-", models=("forest", "tree"))
    cluster, events = warmed(bootstrap), drawn(1500, begin_ms, quick_favours=0.2)
    admin.create(cluster, misleading, partitions=PARTITIONS, label_wait_ms=WAIT_MS)
    put(cluster, misleading.topic("comparisons"), comparisons(events))
    assert not [each for each in compare()["warnings"] if "quick labels only" in each]
    monkeypatch.setenv("MILLSTREAM_PREFIX", misleading.prefix)
    report = compare("forest")
    (pair,) = report["pairs"]
    assert pair["rests_on_quick"]
    assert pair["quick"]["high"] < 0
    assert "forest is better than main on quick labels only" in report["warnings"][0]
    assert report["label_ages"] == []  # retention has taken all shadows


def test_without_labelled_answers_the_learners_metrics_are_shown(
    bootstrap: str, names: Names, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLSTREAM_PREFIX", f"{names.prefix}new-")
    file = stream_file(tmp_path)
    assert cli.run(("models", "compare", file, "--json")) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["as_served"], report["results"]) == (False, [])
    assert report["versions"] == dict.fromkeys(MODELS)
    assert "main, forest, tree: no version yet" in report["notes"][1]
    assert cli.run(("models", "compare", file, "--png", "c.png")) == 1
    said = capsys.readouterr()
    assert "not as served" in said.out
    assert "there is nothing to draw" in said.err


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (("woods",), "fraud has no model 'woods'; its models are main, forest, tree", 1),
        (("--from", "yesterday"), "--from: 'yesterday' is no point in time", 2),
        (("--from", "1h", "--to", "2h"), "is not before", 2),
        (("--from", "1m"), "has no labelled event that was predicted in this period", 1),
        (("--by", "colour"), "colour", 2),
        (("--html", "nowhere/c.html"), "there is no folder", 2),
    ],
)
def test_an_error_is_one_line(
    words: tuple[str, ...], said: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(("models", "compare", stream_file(tmp_path), *words)) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
