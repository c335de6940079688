"""The table of the fault tests: one line a fault, added up over the tests that inject it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

PROPERTY: Final = "fault"
DOCUMENT: Final = Path(__file__).parent.parent / "docs" / "reliability.md"
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
    "F7": "records, places or their commit refused or their answer lost in a transaction",
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
                row.add(found)
    return [rows[fault] for fault in FAULTS if fault in rows]


def text(rows: list[Row]) -> list[str]:
    """Return the table's lines for a terminal."""
    cells = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(each[column]) for each in cells) for column in range(len(HEADINGS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(each, widths, strict=True)).rstrip() for each in cells]


def markdown(rows: list[Row], now: datetime, minutes: float) -> str:
    """Return the table as it stands in the document, with its date."""
    said = "".join(f"{name}={os.environ[name]} " for name in (SCALE, SOAK) if name in os.environ)
    lines = [f"`{said}make faults`, {now:%Y-%m-%d}, {minutes:.0f} minutes:", ""]
    lines += ["| " + " | ".join(HEADINGS) + " |", "| --- | --- | ---: | ---: | ---: | ---: |"]
    lines += ["| " + " | ".join(row.cells()) + " |" for row in rows]
    return "\n".join(lines)


def write(rows: list[Row], minutes: float, document: Path = DOCUMENT) -> bool:
    """Put the table into the document, if all faults were injected and none failed; say whether it did."""
    if [row.fault for row in rows] != list(FAULTS) or any(row.failed for row in rows):
        return False
    table = markdown(rows, datetime.now(UTC), minutes)
    old = document.read_text(encoding="utf-8")
    new = re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n\n{table}\n\n{END}", old, flags=re.DOTALL)
    document.write_text(new, encoding="utf-8")
    return True
