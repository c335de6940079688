"""The bare loop with librdkafka: reads topics and writes each record to another, a transaction a turn, nothing else.

It decodes nothing, runs no model and has no guards; turns have at most as many records as the predictor's.
`python bare_librdkafka.py BOOTSTRAP NAME OUT EXTRA_BYTES PARTITIONS IN...`
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

from confluent_kafka import Consumer, Producer, TopicPartition

MOST = 5000
asked: list[int] = []


def end(signum: int, frame: FrameType | None) -> None:
    """Finish the turn, then stop."""
    asked.append(signum)


def main(bootstrap: str, name: str, out: str, extra: int, partitions: int, topics: list[str]) -> None:
    """Copy until told to end."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": name,
            "group.instance.id": name,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": name,
            "transaction.timeout.ms": 10_000,
            "linger.ms": 5,
            "retry.backoff.ms": 1,
            "retry.backoff.max.ms": 2,
        }
    )
    producer.init_transactions()
    consumer.subscribe(topics)
    padding = b"\0" * extra
    print("ready:", flush=True)
    while not asked:
        first = consumer.poll(0.1)
        if first is None:
            continue
        records = [first, *consumer.consume(MOST - 1, 0)]
        producer.begin_transaction()
        places = consumer.position(consumer.assignment())
        producer.send_offsets_to_transaction(
            [TopicPartition(each.topic, each.partition, each.offset) for each in places if each.offset >= 0],
            consumer.consumer_group_metadata(),
        )
        for each in records:
            producer.produce(out, (each.value() or b"") + padding, each.key(), (each.partition() or 0) % partitions)
        producer.commit_transaction()
    consumer.close()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, end)
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), sys.argv[6:])
