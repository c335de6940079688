"""Client library of the clusters for which a test names none: ``MILLSTREAM_CLIENT``, as for the commands."""

from __future__ import annotations

import os

from runtime.kafka_client import cluster

CLIENT = os.environ.get("MILLSTREAM_CLIENT") or cluster.DEFAULT
cluster.DEFAULT = CLIENT  # type: ignore[misc]
