"""What holds the benchmarks honest: bare loops stay bare, figures are computed right, the table says them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))  # benchmarks are not installed: they are run from the checkout

from benchmarks.figures import Figure, Spread, percentile, rate, ratios  # noqa: E402
from benchmarks.latency import until_served  # noqa: E402
from benchmarks.rig import Broken  # noqa: E402
from benchmarks.steps import STEPS, Turns, at, by_event, processor_rate, write  # noqa: E402
from benchmarks.table import BEGIN, END, Circumstances, as_json, markdown, put  # noqa: E402

MADE = Circumstances("make bench", "2026-01-31", 2, "Linux x86_64", {"Python": "3.11.7"})
SLOW = Figure(
    "predictor",
    "predictor: events/s",
    Spread((0.5, 0.7, 0.55)),
    "",
    "at least",
    0.6,
    {"ours, events/s": Spread((12_345.6,)), "bare, events/s": Spread((20_000.0, 24_691.2))},
    "limited by the codec",
)


@pytest.mark.parametrize("name", ["bare_loop", "bare_learner", "peers/bare_librdkafka"])
def test_a_bare_loop_has_at_most_80_lines(name: str) -> None:
    assert 0 < len((ROOT / "benchmarks" / f"{name}.py").read_text().splitlines()) <= 80


def test_the_bare_loop_makes_its_clients_with_the_settings_of_ours() -> None:
    bare = (ROOT / "benchmarks" / "bare_loop.py").read_text()
    for ours in ("consumers/loop/loop.py", "runtime/kafka_client/transaction.py"):
        text = (ROOT / ours).read_text()
        for setting in ("linger_ms=5", "batch_size=1 << 17", "max_partition_fetch_bytes=4 << 20"):
            assert (setting in text) <= (setting in bare), setting
    assert "linger_ms=" in bare
    assert "max_poll_records=2000" in bare


def test_a_rate_counts_what_comes_after_the_batch_that_ends_the_warm_up() -> None:
    times = [0] * 10 + [1000] * 10 + [2000] * 30 + [3000] * 30
    assert rate(times, warm_up=15) == 30.0


@pytest.mark.parametrize("times", [[0] * 5, [0] * 20])
def test_no_rate_comes_from_nothing(times: list[int]) -> None:
    with pytest.raises(ValueError, match="warm-up"):
        rate(times, warm_up=10)


def test_percentiles_name_a_value_that_was_measured() -> None:
    values = [float(number) for number in range(1, 1001)]
    assert percentile(values, 0.99) == 990.0
    assert percentile(values[::-1], 0.5) == 500.0
    assert percentile([7.0], 0.99) == 7.0


def test_ratios_are_taken_round_by_round() -> None:
    assert ratios([10.0, 30.0], [20.0, 40.0]).values == (0.5, 0.75)


def test_the_median_decides_in_either_sense_and_a_second_condition_can_fail_it() -> None:
    assert not SLOW.met
    assert replace(SLOW, bound=0.55).met
    assert replace(SLOW, sense="at most").met
    assert not replace(SLOW, sense="at most", failed=True).met


def test_the_table_has_median_spread_bound_verdict_and_what_limits_it() -> None:
    head, _, row, _, made, *_ = markdown([SLOW], MADE).splitlines()
    assert head.count("|") == row.count("|")
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:4] == ["at least 0.6", "0.55 (0.5 to 0.7)", "**no**"]
    assert cells[4] == "ours, events/s: 12,346; bare, events/s: 22,346 (20,000 to 24,691). **limited by the codec**"
    assert made == "`make bench` on 2026-01-31, 2 CPUs (Linux x86_64); Python 3.11.7."


def test_json_has_every_round_unrounded() -> None:
    figure = as_json([SLOW], MADE)["figures"][0]
    assert figure["rounds"] == [0.5, 0.7, 0.55]
    assert figure["absolute"]["ours, events/s"] == [12_345.6]
    assert figure["met"] is False


def test_a_new_figure_replaces_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    other, later = replace(SLOW, what="joiner: examples/s"), replace(MADE, date="2026-02-01")
    put(page, markdown([SLOW, other], MADE))
    put(page, markdown([replace(SLOW, bound=0.5)], later))
    lines = page.read_text().splitlines()
    row, kept, _, made = lines[4:8]
    assert row.startswith("| predictor: events/s | at least 0.5 |")
    assert row.endswith("| 2026-02-01 |")
    assert kept.startswith("| joiner: examples/s | at least 0.6 |")
    assert kept.endswith("| 2026-01-31 |")
    assert made.startswith("The newest by `make bench` on 2026-02-01")
    assert (lines[:2], lines[8:]) == (["before", BEGIN], [END, "after"])


def test_a_page_without_markers_is_refused_and_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("no table here\n")
    with pytest.raises(ValueError, match="lacks the markers"):
        put(page, "new\n")
    assert page.read_text() == "no table here\n"


def test_the_published_page_can_take_a_table() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text()
    assert text.index(BEGIN) < text.index(END)


def test_a_label_is_served_by_the_first_version_that_reaches_its_place_in_the_log() -> None:
    second = 10**9
    sent = {"a": 0, "b": second, "too-late": 9 * second}
    positions = {"a": 1, "b": 2, "too-late": 3}
    served = [(second, 0), (2 * second, 1), (4 * second, 2), (10 * second, 2)]
    assert until_served(sent, positions, served, learned=0) == [2.0, 3.0]


def test_a_label_that_is_never_served_is_no_figure() -> None:
    with pytest.raises(Broken, match="never served"):
        until_served({"a": 0}, {"a": 5}, [(0, 1), (10**10, 4)], learned=0)


def test_the_steps_of_an_event_sum_to_its_latency(tmp_path: Path) -> None:
    turn = dict.fromkeys(("asked", "read", "begun", "offsets", "sent", "committed"), 0)
    turn.update(asked=3_000_000, read=4_000_000, begun=6_000_000, offsets=9_000_000, sent=13_000_000)
    turns = Turns(done=[{**turn, "committed": 18_000_000, "keys": ["1000000", "3500000", "9"]}])
    write(turns, tmp_path / "turns.json")
    rows = by_event(tmp_path / "turns.json", {"1000000": 24_000_000, "3500000": 24_000_000})
    assert rows == [[2, 1, 2, 3, 4, 5, 6], [0, 0.5, 2, 3, 4, 5, 6]]
    assert at(rows, 0.5, 1.0) == dict(zip(STEPS, rows[0], strict=True))


def test_a_turn_that_overlaps_with_the_next_has_no_steps(tmp_path: Path) -> None:
    write(Turns(done=[{"asked": 1, "read": 2, "committed": 3, "keys": ["0"]}]), tmp_path / "turns.json")
    assert by_event(tmp_path / "turns.json", {"0": 4}) == []


def test_processor_time_counts_after_the_warm_up(tmp_path: Path) -> None:
    write(Turns(polls=[(0, 1.0), (90, 5.0), (120, 6.0), (1000, 8.0)]), tmp_path / "turns.json")
    assert processor_rate(tmp_path / "turns.json", 100, 1000) == 440.0
    with pytest.raises(ValueError, match="only 1000 of 2000"):
        processor_rate(tmp_path / "turns.json", 100, 2000)
