"""Pages of a topic, backwards, on a real Kafka: each row once, whatever lies between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from raw_kafka import raw_producer

from millstream.reading import pages
from millstream.reading.topic_readers import Row, read
from millstream.topics import admin
from runtime.kafka_client.cluster import Cluster, MissingTopic
from schemas.topics import Names


@pytest.fixture
def names(bootstrap: str, prefix: str) -> Names:
    names = Names("paged", prefix)
    admin.create(Cluster(bootstrap), names, partitions=1, label_wait_ms=60_000)
    return names


def write(bootstrap: str, names: Names, count: int, size: int = 10) -> None:
    """Write letters, and after each third a transaction's marker; what they hold is unreadable, which is a row, too."""
    with closing(raw_producer(Cluster(bootstrap), transactional_id=f"{names.prefix}pages")) as producer:
        producer.init_transactions()
        for first in range(0, count, 3):
            producer.begin_transaction()
            for number in range(first, min(first + 3, count)):
                value = b"%d " % number + b"x" * size
                producer.send(names.topic("dead-letters"), value, key=b"k", partition=0)
            producer.commit_transaction()


def backwards(bootstrap: str, names: Names, limit: int) -> Iterator[list[Row]]:
    before: int | None = None
    while True:
        rows, before = pages.page(Cluster(bootstrap), names, "dead-letters", limit=limit, before=before)
        yield rows
        if before is None:
            return


@pytest.mark.parametrize("limit", [1, 4, 40, 1000])
def test_all_pages_together_are_the_topic(bootstrap: str, names: Names, limit: int) -> None:
    write(bootstrap, names, 40)
    found = [*backwards(bootstrap, names, limit)]
    assert [row for rows in reversed(found) for row in rows] == [*read(Cluster(bootstrap), names, "dead-letters")]
    assert {len(rows) for rows in found[:-1]} <= {limit}


def test_a_page_of_large_rows_is_cut_by_their_bytes_and_the_next_goes_on_there(
    bootstrap: str, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MOST_BYTES", 2_500)
    write(bootstrap, names, 9, size=1_000)
    found = [*backwards(bootstrap, names, 5)]
    assert [len(rows) for rows in found] == [2, 2, 2, 2, 1]
    monkeypatch.setattr(pages, "MOST_BYTES", 10)
    assert [len(rows) for rows in backwards(bootstrap, names, 5)] == [1] * 9, "a row that is larger comes alone"


def test_there_is_nothing_before_the_first_and_after_the_last(bootstrap: str, names: Names) -> None:
    cluster = Cluster(bootstrap)
    assert pages.page(cluster, names, "dead-letters", limit=5) == ([], None)
    write(bootstrap, names, 2)
    assert pages.page(cluster, names, "dead-letters", limit=5, before=0) == ([], None)
    assert len(pages.page(cluster, names, "dead-letters", limit=5, before=10**12)[0]) == 2
    with pytest.raises(MissingTopic, match="topics create"):
        pages.page(cluster, Names("nobody", names.prefix), "alerts", limit=5)
