"""What all tests share: a Kafka, and data that not every checkout has."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import kafka_fixture
import pytest
from kafka_fixture import bootstrap, prefix

__all__ = ["bootstrap", "prefix"]

_ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    kafka_fixture.add_option(parser)
    parser.addoption("--faults", action="store_true", help="inject each fault as often as a release must survive it")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what each suite took; suites that ran beside each other are counted in full."""
    seconds: Counter[str] = Counter()
    tests: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                suite = report.nodeid.split("/")[1] if report.nodeid.count("/") > 1 else report.nodeid
                seconds[suite] += report.duration
                tests[suite] += report.when == "call"
                for told in (text for name, text in report.user_properties if name == "told" and report.when == "call"):
                    terminalreporter.write_line(str(told))
    for suite in sorted(seconds):
        terminalreporter.write_line(f"{suite:<12}{tests[suite]:>5} tests {seconds[suite]:>7.1f} s")


@pytest.fixture(scope="session")
def elec_path() -> Path:
    """Return the file of the Elec2 data: ``MILLSTREAM_ELEC``, or ``../shared/data/elec.csv`` beside the checkout."""
    path = Path(os.environ.get("MILLSTREAM_ELEC") or _ROOT.parent / "shared" / "data" / "elec.csv")
    if not path.exists():
        pytest.skip("elec.csv is not here; name it with MILLSTREAM_ELEC")
    return path


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """Return how often a fault is injected: ``rounds(5, 100)`` is 5 in ``make test``, 100 in ``make faults``."""
    all_of_them = request.config.getoption("--faults")
    return lambda few, many: many if all_of_them else few
