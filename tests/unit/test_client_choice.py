"""The choice of a Kafka client in tests: what several tests share is made again for the next client."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import client_choice
import pytest

TESTS = Path(__file__).parent.parent
# They start nothing of the product, or something that is the same with each client.
OF_NO_CLIENT = {
    "_client",  # is the choice
    "kafka",  # a broker, with the users and topics of both clients
    "old_river",  # packages
    "elsewhere",  # packages
    "compose_file",  # containers choose their own client
    "demo",
    "chromium",  # a browser
}


def shared_fixtures(file: Path) -> Iterator[tuple[str, set[str]]]:
    """Yield each fixture of a file that outlives a test, with the fixtures that it requests."""
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef) and any("scope='module'" in ast.unparse(d) for d in node.decorator_list):
            yield node.name, {each.arg for each in node.args.args}


def test_a_fixture_that_tests_share_is_of_one_client_or_of_none() -> None:
    """Without `client` among its fixtures, it would stay as the first client has made it."""
    files = [file for folder in client_choice.FOLDERS for file in (TESTS / folder).glob("*.py")]
    found = 0
    for file in files:
        requested = dict(shared_fixtures(file))
        found += len(requested)
        for name in requested.keys() - OF_NO_CLIENT:
            reached, more = set[str](), {name}
            while more:
                reached |= more
                more = {each for at in more for each in requested.get(at, set())} - reached
            assert "client" in reached, f"{file.name}: fixture {name} must request the fixture client"
    assert found > len(OF_NO_CLIENT)


@pytest.fixture(scope="module")
def made_with(client: str) -> str:
    """Return the client in whose time this was made."""
    return os.environ["MILLSTREAM_CLIENT"]


@pytest.fixture(scope="module")
def started(made_with: str) -> str:
    """Return the same by way of another fixture."""
    return made_with


@pytest.mark.both_clients
def test_a_shared_fixture_is_made_again_for_the_next_client(client: str, started: str) -> None:
    assert started == client


@pytest.mark.both_clients
def test_every_test_gets_the_one_of_its_client(client: str, started: str) -> None:
    assert started == client
