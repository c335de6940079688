"""Client library of the product in a test: of each cluster that names none, and of commands and roles.

``--client`` chooses it. ``both`` runs every test of a folder in `FOLDERS` with each of the two. Without the option,
``MILLSTREAM_CLIENT`` chooses, as for the commands; with neither, ``make faults`` takes both, and ``make test`` takes
both for what is marked ``both_clients`` and the default for the rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from runtime.kafka_client import cluster
from runtime.kafka_client.library_names import DEFAULT, PACKAGES

FOLDERS = ("broker", "faults", "system")
_BOTH = "both"
_VARIABLE = "MILLSTREAM_CLIENT"


def add_option(parser: pytest.Parser) -> None:
    parser.addoption(
        "--client",
        choices=[*PACKAGES, _BOTH],
        default=os.environ.get(_VARIABLE),
        help=f"Kafka client of the product in tests/{{{','.join(FOLDERS)}}}; default: {_VARIABLE}",
    )


def is_one(config: pytest.Config) -> bool:
    """Return whether the tests of this session run with one client alone, because that was asked for."""
    return config.getoption("--client") not in (None, _BOTH)


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Have a test run with each client it is for."""
    if "client" not in metafunc.fixturenames:
        return
    config, test = metafunc.config, metafunc.definition
    chosen: str = config.getoption("--client") or ""
    if chosen not in ("", *PACKAGES, _BOTH):
        raise pytest.UsageError(f"no Kafka client {chosen}: {', '.join(PACKAGES)} or {_BOTH}")
    only = test.get_closest_marker("client")
    if only is not None:
        # An empty list has the test skipped.
        runs = [name for name in only.args if chosen in ("", _BOTH, name)]
    elif test.get_closest_marker("any_client") is None and (
        chosen == _BOTH
        or (not chosen and (config.getoption("--faults") or test.get_closest_marker("both_clients") is not None))
    ):
        runs = list(PACKAGES)
    else:
        runs = [chosen if chosen in PACKAGES else DEFAULT]
    metafunc.parametrize("client", runs, indirect=True, scope="module")


def set_client(name: str) -> Iterator[str]:
    """Set the client for this process and for those that it starts, and yield its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(_VARIABLE, name)
        patch.setattr(cluster, "DEFAULT", name)
        yield name
