"""Client libraries by name: what is loaded, and what is said where that cannot be."""

from __future__ import annotations

import subprocess
import sys

import pytest

from runtime.kafka_client.libraries import ClientUnavailable, library_named
from runtime.kafka_client.library_names import DEFAULT, KAFKA_PYTHON, LIBRDKAFKA, version_of


def test_a_library_has_the_name_that_it_is_found_by() -> None:
    assert library_named(KAFKA_PYTHON).name == KAFKA_PYTHON
    assert library_named(LIBRDKAFKA).name == LIBRDKAFKA
    assert library_named(DEFAULT).name == DEFAULT


def test_an_unknown_name_is_refused_with_both() -> None:
    with pytest.raises(ClientUnavailable, match="'aiokafka' is unknown: use kafka-python or librdkafka"):
        library_named("aiokafka")


def test_a_missing_package_is_said_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)  # as Python does where it is not installed
    with pytest.raises(ClientUnavailable, match=r"install the extra: pip install 'millstream\[fast\]'"):
        library_named(LIBRDKAFKA)


def test_the_first_client_runs_without_the_second() -> None:
    code = (
        "import sys; sys.modules['confluent_kafka'] = None\n"
        "from runtime.kafka_client.cluster import Cluster\n"
        "import millstream.processes.roles\n"
        "print(Cluster('k:1').library.name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "kafka-python"), done.stderr


def test_versions_are_those_of_the_installed_packages() -> None:
    assert version_of(KAFKA_PYTHON) == "3.0.12"
    assert version_of(LIBRDKAFKA).startswith("2.")
    assert version_of("aiokafka") == "unknown"
