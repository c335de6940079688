"""The bare loop: reads topics and writes each record to another, a transaction a poll, and nothing else.

Its clients are made as those of `consumers/loop/loop.py` and `runtime/kafka_client/transaction.py`.
What it writes is as long as what ours writes; it decodes nothing, asks no model, keeps no state and guards
against nothing.
`python -m benchmarks.bare_loop BOOTSTRAP NAME OUT EXTRA_BYTES PARTITIONS IN...`
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

from consumers.loop.loop import LoopSettings
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.records import CommittedOffset

asked: list[int] = []


def end(signum: int, frame: FrameType | None) -> None:
    """Finish the turn, then stop."""
    asked.append(signum)


def main(bootstrap: str, name: str, out: str, extra: int, partitions: int, topics: list[str]) -> None:
    """Copy until told to end."""
    cluster, settings = Cluster(bootstrap), LoopSettings(name, name)
    limits = settings.limits
    consumer = cluster.consumer(
        group_id=name,
        group_instance_id=name,
        session_timeout_ms=settings.session_ms,
        max_poll_interval_ms=settings.poll_interval_ms,
        request_timeout_ms=limits.request_ms,
        max_poll_records=2000,
        fetch_max_wait_ms=100,
        max_partition_fetch_bytes=4 << 20,
        auto_offset_reset="earliest",
    )
    producer = cluster.producer(
        transactional_id=name,
        transaction_timeout_ms=limits.broker_ms,
        request_timeout_ms=limits.request_ms,
        delivery_timeout_ms=limits.delivery_ms,
        max_block_ms=limits.request_ms,
        linger_ms=5,
        batch_size=1 << 17,
        max_request_size=8 << 20,
    )
    producer.init_transactions()
    consumer.subscribe(topics, lambda: None)
    padding = b"\0" * extra
    while not asked:
        polled = consumer.poll(timeout_ms=100)
        if not polled:
            continue
        producer.begin_transaction()
        for records in polled.values():
            for record in records:
                producer.send(out, (record.value or b"") + padding, record.key, None, record.partition % partitions)
        producer.flush()
        places = {each: CommittedOffset(consumer.position(each), "") for each in polled}
        producer.send_offsets_to_transaction(places, consumer.group_metadata())
        producer.commit_transaction()
    consumer.close()
    producer.close()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, end)
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), sys.argv[6:])
