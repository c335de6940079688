"""What all tests share: a Kafka, and data that not every checkout has."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import client_choice
import faults_table
import hypothesis
import kafka_fixture
import pytest
from faults_table import Tally
from kafka_fixture import bootstrap, prefix

from millstream.processes.fork_server import ForkServer
from runtime.niceness import NICENESS

__all__ = ["bootstrap", "prefix"]

# How long one example takes says something of the machine alone.
hypothesis.settings.register_profile("crowded", deadline=None)
hypothesis.settings.load_profile("crowded")

# Their asserts tell the values, too.
pytest.register_assert_rewrite("faults", "system", "broker", "kafka_clients", "compared_values")

_WAITING = ("faults", "system", "broker")  # what takes longest first
_ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    kafka_fixture.add_option(parser)
    client_choice.add_option(parser)
    parser.addoption("--faults", action="store_true", help="inject each fault as often as a release must survive it")


def pytest_configure() -> None:
    # A shell without job control starts a command in the background with Ctrl-C ignored, and so would be its children.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Other tests keep the processors busy: at the lowest priority a training would wait for all of them.
    os.environ[NICENESS] = "0"


def pytest_sessionstart(session: pytest.Session) -> None:
    """Have each worker collect other files first: pytest compiles each then once, not once a worker."""
    config = session.config
    worker = getattr(config, "workerinput", None)
    if worker is None or not all(Path(arg).is_dir() for arg in config.args):
        return
    files = [str(path) for arg in config.args for path in sorted(Path(arg).rglob("test_*.py"))]
    first = len(files) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
    config.args[:] = files[first:] + files[:first]


@pytest.fixture(autouse=True)
def _files_are_forgotten(request: pytest.FixtureRequest) -> Iterator[None]:
    """Forget the modules in a test's folder afterwards: the next test's stream file of that name is another one."""
    if "tmp_path" not in request.fixturenames:
        yield
        return
    folder = str(request.getfixturevalue("tmp_path"))
    yield
    sys.path[:] = [entry for entry in sys.path if not entry.startswith(folder)]
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(folder):
            del sys.modules[name]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    client_choice.parametrize(metafunc)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have each test that injects a fault counted in the table, also where it only says which one.

    The full size leaves out what has but one size and injects nothing: `make test` has had it.
    """
    for item in items:
        if not config.getoption("--faults") and item.get_closest_marker("full") is not None:
            item.add_marker(pytest.mark.skip(reason="in make faults"))
    if config.getoption("--faults"):
        config.hook.pytest_deselected(items=[item for item in items if not _has_a_full_size(item)])
        # Hours of soak first: what is beside them on other workers needs less.
        items[:] = sorted(filter(_has_a_full_size, items), key=lambda item: "test_soak" not in item.nodeid)
    elif hasattr(config, "workerinput"):
        items[:] = _mixed(items)
    for item in items:
        for mark in item.iter_markers("fault"):
            if "tally" not in getattr(item, "fixturenames", ()):
                Tally(item, mark.args[0]).row(mark.kwargs.get("times", 1), 0, 0)


def _mixed(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return them file by file, so that at any time some wait for a broker and others compute: what runs beside
    each other keeps both the processors and the broker busy from beginning to end.
    """
    in_order = sorted(items, key=lambda item: item.path)  # no worker has collected them in another's order
    files = [list(group) for _, group in itertools.groupby(in_order, key=lambda item: item.path)]
    waiting = sorted(filter(_waits, files), key=lambda file: _WAITING.index(file[0].path.parent.name))
    computing = [file for file in files if not _waits(file)]
    in_turn = [(number / len(some), file) for some in (waiting, computing) for number, file in enumerate(some)]
    return [item for _, file in sorted(in_turn, key=lambda each: each[0]) for item in file]


def _waits(file: list[pytest.Item]) -> bool:
    return file[0].path.parent.name in _WAITING


def pytest_collection_finish() -> None:
    """Take what was imported for what stays: to look through it at each garbage collection is a tenth of a run."""
    gc.collect()
    gc.freeze()


def _has_a_full_size(item: pytest.Item) -> bool:
    folder = item.path.parent.name
    return (
        folder in ("faults", "simulation")
        or item.get_closest_marker("fault") is not None
        or item.get_closest_marker("full") is not None
        or "rounds" in getattr(item, "fixturenames", ())
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what each suite took; suites that ran beside each other are counted in full. And the table of faults."""
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
    _tell_faults(terminalreporter)


def _tell_faults(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [it for each in terminalreporter.stats.values() for it in each if isinstance(it, pytest.TestReport)]
    rows = faults_table.collected(reports)
    if not rows:
        return
    terminalreporter.section("faults")
    for line in faults_table.text(rows):
        terminalreporter.write_line(line)
    config = terminalreporter.config
    picked = config.option.keyword or any("::" in word for word in config.args)  # a part of a fault is not its line
    part = picked or client_choice.is_one(config)
    if config.getoption("--faults") and not part and (written := faults_table.write(rows)):
        terminalreporter.write_line(f"written to {faults_table.DOCUMENT}: {', '.join(written)}")


@pytest.fixture(scope="session")
def elec_path() -> Path:
    """Return the file of the Elec2 data: ``MILLSTREAM_ELEC``, or ``../shared/data/elec.csv`` beside the checkout."""
    path = Path(os.environ.get("MILLSTREAM_ELEC") or _ROOT.parent / "shared" / "data" / "elec.csv")
    if not path.exists():
        pytest.skip("elec.csv is not here; name it with MILLSTREAM_ELEC")
    return path


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """Lend what forks roles: it imports everything, once. Where it is killed, the next wish finds another."""
    with closing(ForkServer(os.environ)) as fork_server:
        yield fork_server


@pytest.fixture(scope="module")
def client(request: pytest.FixtureRequest) -> Iterator[str]:
    """Set the Kafka client of the product, and return its name; see `client_choice`."""
    yield from client_choice.set_client(request.param)


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """Return how often a fault is injected: ``rounds(5, 100)`` is 5 in ``make test``, 100 in ``make faults``."""
    all_of_them = request.config.getoption("--faults")
    return lambda few, many: faults_table.scaled(few, many) if all_of_them else few


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """Return where a test that is marked ``fault("F1")`` puts how often, what it cost and how long it took."""
    mark = request.node.get_closest_marker("fault")
    assert mark is not None, "say which fault it is: @pytest.mark.fault"
    return Tally(request.node, mark.args[0])
