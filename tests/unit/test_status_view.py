"""The page of `status --watch`: whatever the numbers, it fits the terminal and shows every stage."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from consumers.model.quality import MetricBeside, Quality
from millstream.status.render import Page, line
from millstream.status.report import Model, Report, Stage

GOOD = Quality(
    1000, 1000, (MetricBeside("ROCAUC", 0.91, {"last_label": 0.74, "frequencies": 0.5}), MetricBeside("F1", 0.5, {}))
)
MODEL = Model("1/1200", 61_000, "1/1250", None, False, 850, {"ROCAUC": 0.912345, "LogLoss": 0.31}, 12_345, quality=GOOD)
STAGES = tuple(Stage(role, 2, 7, 1250, 1234.5) for role in ("predictor", "joiner", "learner"))
LABELS = {
    "waiting": 3,
    "joined": 1200,
    "duplicate": 1,
    "correction": 0,
    "contradicting": 0,
    "unmatched": 2,
    "refused": 0,
}
REPORT = Report("fraud", "127.0.0.1:9092", 1_700_000_000_000, STAGES, LABELS, 50, MODEL, 0, True, 5 << 30, 9 << 30, ())
HUGE = replace(
    REPORT,
    stream="f" * 63,
    stages=tuple(replace(stage, lag=10**12, per_second=1e9) for stage in STAGES),
    labels=dict.fromkeys(LABELS, 10**12),
    model=replace(MODEL, metrics={f"Metric{number}": 1 / 3 for number in range(30)}, full=True, paused=True),
    alerts=tuple(f"alert {number}: " + "what is to be seen to " * 20 for number in range(30)),
)
FOUR = replace(REPORT, stages=(STAGES[0], Stage("intake", 1, 0, 5, 1.0), *STAGES[1:]))
DOWN = replace(REPORT, stages=tuple(replace(stage, processes=0, per_second=None) for stage in STAGES))


def drawn(report: Report | None, width: int = 80, height: int = 24, note: str = "every 2 s") -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, height=height, force_terminal=False).print(Page(report, note))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("report", [REPORT, HUGE, FOUR, DOWN], ids=["usual", "huge", "four stages", "down"])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 60)])
def test_the_page_fits_and_has_every_stage(report: Report, width: int, height: int) -> None:
    lines = drawn(report, width, height)
    assert max(map(len, lines)) <= width
    assert len(lines) < height
    for stage in report.stages:
        assert f"╭ {stage.role} " in "".join(lines)
        assert any(f"lag {stage.lag:,}"[: 80 // len(report.stages) - 8] in each for each in lines)


def test_a_terminal_that_is_too_narrow_gets_what_fits() -> None:
    assert max(map(len, drawn(REPORT, 40, 10))) <= 40


def test_the_numbers_stand_where_they_belong() -> None:
    text = "\n".join(drawn(REPORT))
    for told in (
        "1,234.5/s",
        "lag 7",
        "2 at work",
        "serves 1/1200, label to served 850 ms",
        "1,200 joined",
        "progressive     ROCAUC 0.9123",
    ):
        assert told in text
    assert "served metric   ROCAUC 0.91 better than last label 0.74\n" in text
    assert "nothing needs a person" in text


def test_the_clients_are_one_for_all_or_named_by_process() -> None:
    assert "Kafka client    –" in "\n".join(drawn(DOWN)), "of none that runs"
    both = [{f"{stage.role}-{number}": "librdkafka 2.16.1" for number in (0, 1)} for stage in STAGES]
    same = replace(REPORT, stages=tuple(replace(stage, clients=of) for stage, of in zip(STAGES, both, strict=True)))
    assert "Kafka client    librdkafka 2.16.1" in "\n".join(drawn(same))
    mixed = replace(STAGES[0], clients={"predictor-0": "librdkafka 2.16.1", "predictor-1": "kafka-python 3.0.12"})
    shown = " ".join(" ".join(drawn(replace(same, stages=(mixed, *same.stages[1:])))).split())
    assert "kafka-python 3.0.12 (predictor-1)" in shown


def test_a_stage_that_nobody_runs_says_so() -> None:
    assert "\n".join(drawn(DOWN)).count("NONE RUNS") == 3
    assert line(DOWN).startswith("predictor none at work, –/s, lag 7 | ")


def test_while_kafka_does_not_answer_nothing_is_said_to_be_well() -> None:
    out = io.StringIO()
    why = "cannot look now: no Kafka answers at 127.0.0.1:9092"
    Console(file=out, width=80, height=24, force_terminal=False).print(Page(REPORT, why, stale=True))
    text = out.getvalue()
    assert "nothing needs a person" not in text
    assert f"! {why}" in text
    assert "what is shown is as of " in text


def test_a_role_that_crashed_is_shown_in_its_box_and_one_that_is_back_below() -> None:
    crashed = replace(STAGES[0], processes=1, crashed=("predictor-1",))
    text = "\n".join(drawn(replace(REPORT, stages=(crashed, *STAGES[1:]), alerts=("predictor-1 has crashed",))))
    assert "1 at work, 1 CRASHED" in text
    assert "nothing needs a person" not in text
    alone = replace(STAGES[0], processes=0, crashed=("predictor-0",))
    assert "1 CRASHED" in "\n".join(drawn(replace(REPORT, stages=(alone, *STAGES[1:]))))
    back = replace(REPORT, started_again={"learner-0": REPORT.at - 5_000, "joiner-0": REPORT.at})
    text = "\n".join(drawn(back))
    assert "learner-0 was started again 5 s ago" in text
    assert "joiner-0 was started again just now" in text


def test_before_the_first_report_the_page_says_what_it_waits_for() -> None:
    assert drawn(None, note="cannot look now: NoBroker") == ["cannot look now: NoBroker"]
