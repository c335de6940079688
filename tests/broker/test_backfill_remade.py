"""A backfill as of then knows answers to an older features topic of the same name."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from raw_kafka import raw_producer

from millstream.reading.offset_ranges import Edge
from millstream.replay.backfill import CannotBackfill, as_of
from millstream.replay.past_versions import PastVersions
from millstream.replay.plan import ReplayTarget, plan
from millstream.replay.replay import Replay
from millstream.stream.load import load_stream
from millstream.topics import admin
from model_store import open_store
from runtime.kafka_client.cluster import Cluster
from schemas import codec
from schemas.events import Event, Outcome, Prediction
from schemas.topics import Names

EVENTS = 3


@pytest.fixture
def cluster(bootstrap: str, names: Names) -> Cluster:
    """Return one where the features topic has fewer events than were answered."""
    made = Cluster(bootstrap)
    admin.create(made, names, partitions=1, label_wait_ms=0)
    with closing(raw_producer(made)) as producer:
        for offset in range(2 * EVENTS):
            event = Event(f"e{offset}", 1, {"x": 1.0})
            if offset < EVENTS:
                producer.send(names.topic("features"), event.encode(), partition=0)
            answer = Outcome(
                prediction=True,
                probabilities=None,
                model="phishing",
                epoch=1,
                examples=0,
                predicted_at=1,
                source_topic=names.topic("features"),
                source_partition=0,
                source_offset=offset,
            )
            said = codec.PREDICTION.encode(msgspec.to_builtins(Prediction(event, answer)))
            producer.send(names.whole, said, partition=0)
        producer.flush()
    return made


def test_answers_to_an_older_topic_of_the_same_name_are_refused(cluster: Cluster, names: Names, tmp_path: Path) -> None:
    job = plan(cluster, names.topic("features"), Edge(), Edge(), ReplayTarget(cluster, f"{names.prefix}into"))
    store = open_store(tmp_path / "models", tmp_path / "keys", sign=False)
    with (
        Replay(job, names, role="backfill", keeps_begin=True) as replay,
        PastVersions(load_stream("phishing"), cluster, names, store, print) as versions,
        pytest.raises(CannotBackfill, match="was created again"),
    ):
        as_of(names, replay, None, versions, print, lambda done, total: None)
