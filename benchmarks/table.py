"""The table of figures: as Markdown, as JSON, and put between the markers of a page."""

from __future__ import annotations

import datetime as dt
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from benchmarks.figures import Figure, Spread

BEGIN: Final = "<!-- begin table: made by `make bench`, not by hand -->"
END: Final = "<!-- end table -->"
_HEAD: Final = (
    "| what | required | measured | met | the figures behind it | on |",
    "| --- | --- | --- | --- | --- | --- |",
)
_LIBRARIES: Final = ("kafka-python", "river", "fastavro", "msgspec", "lmdb")


@dataclass(frozen=True)
class Circumstances:
    """What a run was made with."""

    command: str
    date: str
    cpus: int
    machine: str
    libraries: dict[str, str]


def circumstances(command: str) -> Circumstances:
    """Return those of now."""
    from millstream.embedded_kafka.jars import KAFKA_VERSION

    libraries = {"Python": platform.python_version(), "Kafka": KAFKA_VERSION}
    libraries |= {name: version(name) for name in _LIBRARIES}
    today = dt.datetime.now(dt.UTC).date().isoformat()
    return Circumstances(command, today, os.cpu_count() or 0, f"{platform.system()} {platform.machine()}", libraries)


def markdown(figures: Sequence[Figure], made: Circumstances) -> str:
    """Return the table and what it was made with."""
    lines = list(_HEAD)
    for each in figures:
        behind = "; ".join(f"{name}: {_spoken(spread)}" for name, spread in each.absolute.items())
        note = f". **{each.note}**" if each.note else ""
        bound = f"{each.sense} {_number(each.bound)} {each.unit}".strip()
        measured = f"{_spoken(each.measured)} {each.unit}".strip()
        lines.append(
            f"| {each.what} | {bound} | {measured} | {'yes' if each.met else '**no**'} | {behind}{note} | {made.date} |"
        )
    libraries = ", ".join(f"{name} {number}" for name, number in made.libraries.items())
    lines += ["", f"`{made.command}` on {made.date}, {made.cpus} CPUs ({made.machine}); {libraries}.", ""]
    return "\n".join(lines)


def as_json(figures: Sequence[Figure], made: Circumstances) -> dict[str, Any]:
    """Return all of it, every round unrounded."""
    return {
        "command": made.command,
        "date": made.date,
        "cpus": made.cpus,
        "machine": made.machine,
        "libraries": made.libraries,
        "figures": [
            {
                "name": each.name,
                "what": each.what,
                "unit": each.unit,
                "required": {each.sense: each.bound},
                "median": each.measured.median,
                "rounds": list(each.measured.values),
                "met": each.met,
                "absolute": {name: list(spread.values) for name, spread in each.absolute.items()},
                "note": each.note,
            }
            for each in figures
        ],
    }


def put(page: Path, text: str) -> None:
    """Put a table between the page's markers; rows of what it does not measure stay. ValueError without markers."""
    whole = page.read_text(encoding="utf-8")
    before, begin, rest = whole.partition(BEGIN)
    old, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} lacks the markers {BEGIN} and {END}")
    new = _rows(text)
    kept = [new.pop(what, row) for what, row in _rows(old).items()]
    *_, made = text.strip().splitlines()
    table = "\n".join([*_HEAD, *kept, *new.values(), "", f"The newest by {made}" if kept else made, ""])
    page.write_text(f"{before}{BEGIN}\n{table}{END}{after}", encoding="utf-8")


def _rows(table: str) -> dict[str, str]:
    """Return a table's rows by what they measure."""
    rows = [line for line in table.splitlines() if line.startswith("| ") and line not in _HEAD]
    return {row.split("|")[1]: row for row in rows}


def _spoken(spread: Spread) -> str:
    if len(spread.values) == 1 or _number(spread.least) == _number(spread.most):
        return _number(spread.median)
    return f"{_number(spread.median)} ({_number(spread.least)} to {_number(spread.most)})"


def _number(value: float) -> str:
    """Return three digits of it, thousands whole.

    >>> _number(12345.6), _number(1.2345), _number(0.98765), _number(50)
    ('12,346', '1.23', '0.988', '50')
    """
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
