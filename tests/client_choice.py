"""Client library of all clusters that a test makes without naming one: ``MILLSTREAM_CLIENT``, as for commands."""

from __future__ import annotations

import os

from runtime.kafka_client import cluster

CLIENT = os.environ.get("MILLSTREAM_CLIENT") or cluster.DEFAULT
cluster.DEFAULT = CLIENT  # type: ignore[misc]
