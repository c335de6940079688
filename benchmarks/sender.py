"""Sends features at a steady rate, and their labels later, as a process of its own.

`python -m benchmarks.sender BOOTSTRAP FEATURES RATE SECONDS [LABELS DELAY_EVENTS]`. An event's id is when it was
sent, in ns of the machine's monotonic clock, which all its processes share. Prints a JSON line: how many were sent,
and per event id when its label was.
"""

from __future__ import annotations

import gc
import json
import sys
import time

from benchmarks.material import cycle
from benchmarks.rig import PARTITIONS, instruments
from schemas.events import Event, Label
from schemas.topics import partition_of


def main(bootstrap: str, topic: str, rate: float, seconds: float, labels: str = "", delay: int = 0) -> dict[str, int]:
    """Return by event id when its label was sent (ns); without labels, when it was itself."""
    producer = instruments(bootstrap).producer(linger_ms=0)
    count = round(rate * seconds)
    material = [row for _, row in cycle(count)]
    ids: list[str] = []
    sent: dict[str, int] = {}
    gc.freeze()
    began = time.monotonic_ns()
    for number, row in enumerate(material):
        due = began + int(number * 1e9 / rate)
        while (now := time.monotonic_ns()) < due:
            time.sleep((due - now) / 1e9)
        name = str(now)
        value = Event(name, time.time_ns() // 1_000_000, row.features).encode()
        producer.send(topic, value, name.encode(), None, number % PARTITIONS)
        ids.append(name)
        if labels and number >= delay:
            name = ids[number - delay]
            label = Label(name, material[number - delay].label, time.time_ns() // 1_000_000)
            now = time.monotonic_ns()
            producer.send(labels, label.encode(), name.encode(), None, partition_of(name, PARTITIONS))
        sent[name] = now
    producer.flush()
    producer.close()
    return sent


if __name__ == "__main__":
    bootstrap, topic, rate, seconds = sys.argv[1:5]
    given = (sys.argv[5], int(sys.argv[6])) if len(sys.argv) > 5 else ("", 0)
    print(json.dumps(main(bootstrap, topic, float(rate), float(seconds), *given)))
