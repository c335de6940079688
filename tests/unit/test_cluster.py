"""A client that finds no broker leaves nothing open behind it."""

from __future__ import annotations

import socket

import psutil
import pytest

from runtime.kafka_client.cluster import Cluster, NoBroker


def test_a_client_that_finds_no_broker_leaves_no_file_open() -> None:
    this = psutil.Process()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        cluster = Cluster(f"127.0.0.1:{silent.getsockname()[1]}")
        opened = []
        for _ in range(2):
            with pytest.raises(NoBroker):
                cluster.producer(bootstrap_timeout_ms=200)
            opened.append(this.num_fds())
    assert opened == [opened[0]] * 2
