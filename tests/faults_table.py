"""The table of the fault tests: one line a fault, added up over the tests that inject it."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

PROPERTY: Final = "fault"
TESTS: Final = Path(__file__).parent
DOCUMENT: Final = TESTS.parent / "docs" / "reliability.md"
BEGIN, END = "<!-- make faults: begin -->", "<!-- make faults: end -->"
SCALE: Final = "MILLSTREAM_FAULTS_SCALE"
SOAK: Final = "MILLSTREAM_SOAK_MINUTES"
FAULTS: Final = {
    "F1": "kill -9 of the learner at random moments",
    "F2": "kill -9 at each failpoint of learner and joiner",
    "F3": "kill -9 of one of three predictors",
    "F4": "kill -9 of the broker, outages of 1 to 45 s",
    "F5": "zombies: stopped past their session, replaced, woken up",
    "F6": "processes join and leave",
    "F7": "records, offsets or their commit refused, or their answer lost, in a transaction",
    "F8": "epoch bumped in mid-transaction",
    "F9": "poison events of 14 classes",
    "F10": "damaged checkpoints",
    "F11": "disk full, I/O error, read-only at the N-th call",
    "F12": "object store: calls fail, hang, or lose their answer; two learners race for each version",
    "F13": "clocks an hour apart, jumps of a day",
    "F14": "labels repeated, out of order, late, early, contradicting, for no event",
    "F15": "more pending than the cap",
    "F16": "messages of 1 MB ± 1 byte, 5 MB and 50 MB",
    "F17": "models topic: repeats, reordering, forgeries",
    "F18": "one instance id twice; labels on wrong partitions; a clock an hour ahead; a slow rebuild",
    "F19": "retention, truncation and recreation under a stopped role",
    "F20": "soak: a random fault every 10 s",
    "F21": "kill -9 at each failpoint of HTTP server and forwarder",
    "F22": "HTTP: Kafka away, also at the server's start; ids repeated at two workers; a second forwarder",
    "F23": "uploads: kill -9 at each failpoint of HTTP server and importer; Kafka away",
    "F24": "HTTP: servers behind HAProxy restarted one after the other, under load",
}


def scaled(few: int, many: int) -> int:
    """Return how often a fault is injected in the full size, `MILLSTREAM_FAULTS_SCALE` of it if that is set."""
    return max(few, round(many * float(os.environ.get(SCALE, "1"))))


@dataclass
class Tally:
    """What one test has to say of the fault it injects. `tally` is the fixture."""

    item: pytest.Item
    fault: str

    def row(self, times: int, lost: int, repeated: int, recovery: float | None = None) -> None:
        """Add a line. `recovery`: the worst, in seconds from the fault to the first progress after it."""
        found = {"fault": self.fault, "times": times, "lost": lost, "repeated": repeated, "recovery": recovery}
        self.item.user_properties.append((PROPERTY, found))


@dataclass
class Row:
    """A fault over all tests that inject it."""

    fault: str
    times: int = 0
    lost: int = 0
    repeated: int = 0
    recovery: float | None = None
    failed: list[str] = field(default_factory=list)
    tests: set[str] = field(default_factory=set)

    def add(self, found: dict[str, Any]) -> None:
        self.times += found["times"]
        self.lost += found["lost"]
        self.repeated += found["repeated"]
        if found["recovery"] is not None:
            self.recovery = max(self.recovery or 0.0, found["recovery"])

    def cells(self) -> tuple[str, ...]:
        worst = "–" if self.recovery is None else f"{self.recovery:.1f} s"
        what = FAULTS[self.fault] + (f" (FAILED: {len(self.failed)})" if self.failed else "")
        return self.fault, what, f"{self.times:,}", str(self.lost), str(self.repeated), worst


HEADINGS: Final = ("fault", "what", "times", "lost", "repeated", "worst recovery")


def collected(reports: Iterable[pytest.TestReport]) -> list[Row]:
    """Return the rows of what ran, in the order of the faults."""
    rows: dict[str, Row] = {}
    for report in reports:
        for name, found in report.user_properties:
            if name != PROPERTY or (report.when != "call" and not report.failed):
                continue
            row = rows.setdefault(found["fault"], Row(found["fault"]))
            if report.failed:
                row.failed.append(report.nodeid)
            if report.when == "call":
                row.tests.add(report.nodeid.partition("[")[0])
                row.add(found)
    return [rows[fault] for fault in FAULTS if fault in rows]


def text(rows: list[Row]) -> list[str]:
    """Return the table's lines for a terminal."""
    cells = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(each[column]) for each in cells) for column in range(len(HEADINGS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(each, widths, strict=True)).rstrip() for each in cells]


def marked(folder: Path = TESTS) -> dict[str, set[str]]:
    """Return the tests that are marked with each fault, as ``file::name``."""
    found: dict[str, set[str]] = {fault: set() for fault in FAULTS}
    for path in sorted(folder.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef):
                continue
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault":
                    found[ast.literal_eval(mark.args[0])].add(f"{path.relative_to(folder.parent)}::{node.name}")
    return found


def write(rows: Iterable[Row], document: Path = DOCUMENT, tests: Mapping[str, set[str]] | None = None) -> list[str]:
    """Put each fault's line into the document, with its date, in place of an older one; return which.

    Only of faults all of whose tests ran in this run, in their full size, and passed.
    """
    if SCALE in os.environ or SOAK in os.environ:
        return []
    tests = marked() if tests is None else tests
    new = {row.fault: row.cells() for row in rows if not row.failed and row.tests == tests[row.fault]}
    old = document.read_text(encoding="utf-8")
    lines = dict(re.findall(r"^\| (F\d+) (\|.*)$", old.partition(BEGIN)[2].partition(END)[0], re.MULTILINE))
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    lines |= {fault: f"| {' | '.join((*cells[1:], today))} |" for fault, cells in new.items()}
    table = [f"| {' | '.join((*HEADINGS, 'date'))} |", "| --- | --- | ---: | ---: | ---: | ---: | --- |"]
    table += [f"| {fault} {lines[fault]}" for fault in FAULTS if fault in lines]
    if new:
        whole = "\n".join((BEGIN, "", *table, "", END))
        document.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: whole, old, flags=re.DOTALL), encoding="utf-8")
    return list(new)
