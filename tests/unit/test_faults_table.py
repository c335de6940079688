"""The table of the fault tests: what it adds up, and when it is written into the document."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults_table import BEGIN, END, FAULTS, Row, collected, marked, scaled, text, write

from runtime.failpoints import PLACES

RELIABILITY = Path(__file__).parents[2] / "docs" / "reliability.md"


def report(fault: str, outcome: str = "passed", times: int = 1, recovery: float | None = None) -> pytest.TestReport:
    found = {"fault": fault, "times": times, "lost": 0, "repeated": 0, "recovery": recovery}
    properties = [("fault", found)]
    return pytest.TestReport("t", ("t", 0, "t"), {}, outcome, None, "call", user_properties=properties)  # type: ignore[arg-type]


def test_the_tests_of_a_fault_are_one_line_with_the_worst_recovery() -> None:
    rows = collected([report("F3", times=2, recovery=4.0), report("F1"), report("F3", times=3, recovery=2.0)])
    assert [(row.fault, row.times, row.recovery) for row in rows] == [("F1", 1, None), ("F3", 5, 4.0)]
    assert text(rows)[2].split()[0] == "F3"
    assert text(rows)[2].endswith("4.0 s")


def test_a_line_is_written_where_all_tests_of_its_fault_ran_and_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document, tests = tmp_path / "doc.md", {fault: {f"{fault}-one", f"{fault}-two"} for fault in FAULTS}
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    whole = [Row(fault, 1, tests=set(tests[fault])) for fault in FAULTS]
    partly = [Row("F1", 7, tests={"F1-one"}), Row("F2", 7, failed=["t"], tests=set(tests["F2"]))]
    assert write(partly, document, tests) == []
    assert "old" in document.read_text()
    assert write(whole[2:], document, tests) == list(FAULTS)[2:]
    assert write([*partly, Row("F3", 9, tests=set(tests["F3"]))], document, tests) == ["F3"]
    assert write(whole[:2], document, tests) == ["F1", "F2"]
    written = document.read_text()
    assert written.startswith("before\n")
    assert written.endswith("after\n")
    assert "old" not in written
    lines = [line.split(" | ") for line in written.splitlines() if line.startswith("| F")]
    assert [line[0] for line in lines] == [f"| {fault}" for fault in FAULTS]
    assert [line[2] for line in lines] == ["1", "1", "9", *["1"] * (len(FAULTS) - 3)]
    monkeypatch.setenv("MILLSTREAM_FAULTS_SCALE", "0.3")
    assert write(whole, document, tests) == [], "not the full size"


def test_each_fault_has_tests_that_are_known() -> None:
    tests = marked()
    assert all(tests.values())
    assert (
        "tests/faults/test_killed_roles.py::test_a_learner_killed_at_random_moments_learns_each_example_once"
        in tests["F1"]
    )


def test_a_failed_test_is_told_in_its_line() -> None:
    assert "FAILED: 1" in text(collected([report("F1", "failed")]))[1]


def test_the_full_size_can_be_scaled_and_never_below_the_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLSTREAM_FAULTS_SCALE", "0.3")
    assert (scaled(5, 100), scaled(5, 10)) == (30, 5)


def test_the_document_has_the_place_for_the_table_and_names_every_failpoint() -> None:
    said = RELIABILITY.read_text()
    assert said.count(BEGIN) == said.count(END) == 1
    assert all(f"`{place}`" in said for place in PLACES)
