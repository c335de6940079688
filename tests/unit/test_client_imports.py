"""One package knows the Kafka client: nothing else imports it, or touches what is private to it."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import kafka
import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGES = (
    "runtime",
    "schemas",
    "model_store",
    "producers",
    "consumers",
    "server",
    "millstream",
    "streams",
    "benchmarks",
)
# Programs of other projects, and the bare loop that is compared with librdkafka.
PEERS = ROOT / "benchmarks" / "peers"
HOME = ROOT / "runtime" / "kafka_client"
GUARDS = HOME / "kafka_python"
LIBRARIES = frozenset({"kafka", "confluent_kafka"})


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of each import of a Kafka client, wherever in a file it is."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
            names = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        yield from ((node.lineno, name) for name in names if name.partition(".")[0] in LIBRARIES)  # type: ignore[attr-defined]


@cache
def private_names() -> frozenset[str]:
    """Return the private attributes that objects of the client have, off its own source, and our wrappers' client."""
    folder = Path(inspect.getfile(kafka)).parent
    names = {"_client"}
    for part in ("consumer", "producer", "admin", "coordinator", "net"):
        for file in (folder / part).rglob("*.py"):
            names |= {name for name, of_self in _private(ast.parse(file.read_text())) if of_self}
    return frozenset(names)


def _private(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Yield private attributes, and whether they are of `self` or `cls`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.endswith("__"):
            yield node.attr, isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


def touched(tree: ast.AST, private: frozenset[str]) -> set[str]:
    """Return the client's private attributes that are touched on anything but `self`."""
    return {name for name, of_self in _private(tree) if name in private and not of_self}


def product_files(home: Path = HOME) -> list[Path]:
    """Return all files but those in a folder."""
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    return sorted(file for file in files if home not in file.parents and PEERS not in file.parents)


def test_all_product_files_are_looked_at() -> None:
    files = {str(file.relative_to(ROOT)) for file in product_files()}
    assert {
        "consumers/loop/loop.py",
        "producers/retrying_producer.py",
        "millstream/cli/app.py",
        "runtime/exits.py",
    } <= files
    assert not any(file.startswith("runtime/kafka_client/") for file in files)


def test_only_its_home_imports_a_kafka_client() -> None:
    found = {file: list(imported(ast.parse(file.read_text()))) for file in product_files()}
    assert {str(file.relative_to(ROOT)): lines for file, lines in found.items() if lines} == {}


def test_only_the_guards_touch_what_is_private_to_a_client() -> None:
    private = private_names()
    found = {file: touched(ast.parse(file.read_text()), private) for file in product_files(GUARDS)}
    assert {str(file.relative_to(ROOT)): names for file, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "text",
    [
        "import kafka",
        "import json, kafka.errors",
        "from kafka import TopicPartition",
        "def f():\n    from kafka.errors import KafkaError",
        "if TYPE_CHECKING:\n    from confluent_kafka import Consumer",
        "import importlib\nimportlib.import_module('kafka.structs')",
    ],
)
def test_an_import_is_found_wherever_it_is(text: str) -> None:
    assert len(list(imported(ast.parse(text)))) == 1


@pytest.mark.parametrize(
    "text", ["import kafkaesque", "from runtime.kafka_client import client", "from . import kafka"]
)
def test_other_imports_are_left_alone(text: str) -> None:
    assert list(imported(ast.parse(text))) == []


@pytest.mark.parametrize(
    "text",
    [
        "consumer._coordinator.request_rejoin()",
        "self._consumer._fetcher._completed_fetches",
        "consumer._cluster.topic_id(topic)",
        "producer._sender.force_close()",
        "self._producer._sender",
        "admin._manager.run()",
        "made()._client",
    ],
)
def test_a_private_attribute_of_a_client_is_found(text: str) -> None:
    assert touched(ast.parse(text), private_names())


@pytest.mark.parametrize("text", ["self._cluster.consumer()", "self._sender.put()", "consumer.poll()", "row._asdict()"])
def test_what_is_our_own_is_left_alone(text: str) -> None:
    assert not touched(ast.parse(text), private_names())
