"""Client library of the clusters for which a test names none: ``MILLSTREAM_CLIENT``, as for the commands."""

from __future__ import annotations

import os

import pytest

from runtime.kafka_client import cluster
from runtime.kafka_client.library_names import KAFKA_PYTHON

CLIENT = os.environ.get("MILLSTREAM_CLIENT") or cluster.DEFAULT
cluster.DEFAULT = CLIENT  # type: ignore[misc]

of_kafka_python = pytest.mark.skipif(CLIENT != KAFKA_PYTHON, reason="about kafka-python itself")
