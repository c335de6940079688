"""What reads a range gives up when nothing comes, and not because nobody asked."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest
from raw_kafka import raw_admin, raw_producer

from millstream.reading.range_reader import RangeReader
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.errors import KafkaError


def test_time_in_which_nobody_asked_is_no_silence(bootstrap: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millstream.reading.range_reader._SILENT_SECONDS", 1.0)
    cluster, topic = Cluster(bootstrap), f"{prefix}some"
    with raw_admin(cluster) as admin:
        admin.create_topics({topic: {"num_partitions": 1}})
    with closing(raw_producer(cluster)) as producer:
        producer.send(topic, b"x", partition=0).get(10)
    # Its end is never reached.
    with closing(RangeReader(cluster, topic, {0: 0}, {0: 2})) as reader:
        pieces = reader.as_it_comes(threading.Event(), 10)
        while not next(pieces):
            pass
        time.sleep(1.5)
        assert next(pieces) == []
        with pytest.raises(KafkaError, match="nothing to be read for 1 s"):
            list(pieces)
