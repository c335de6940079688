"""Many more events wait for their label than a joiner may keep (F15)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
from faults.rig import FLOW, Rig
from faults_table import Tally
from kafka import TopicPartition
from raw_kafka import raw_admin, raw_producer
from system.oracle import read_all

from millstream.processes.fork_server import ForkServer
from schemas import codec
from schemas.events import Event, Label, Outcome, Prediction, peek_event_id

NOW = 1_700_000_000_000


@pytest.fixture
def capped(
    rounds: Callable[[int, int], int], bootstrap: str, prefix: str, tmp_path: Path, fork_server: ForkServer
) -> Iterator[tuple[Rig, int]]:
    """Lend a stream of one partition, and the cap on what may wait there."""
    cap = rounds(2_000, 200_000)
    ref = tmp_path / "capped.py"
    ref.write_text(
        FLOW.read_text().replace("partitions=3", "partitions=1").replace("Join()", f"Join(max_pending={cap})")
    )
    with Rig(bootstrap, prefix, tmp_path, fork_server, ref=ref) as rig:
        yield rig, cap


def prediction(number: int) -> bytes:
    outcome = Outcome(True, {}, "flow", 1, 0, NOW, "features", 0, number)
    event = Event(f"e{number}", NOW, {"x": float(number), "y": 1.0})
    return codec.PREDICTION.encode(msgspec.to_builtins(Prediction(event, outcome)))


def send(rig: Rig, kind: str, values: Iterator[bytes]) -> None:
    producer = raw_producer(rig.cluster, linger_ms=5, compression_type="lz4")
    for number, value in enumerate(values):
        producer.send(rig.names.topic(kind), value, partition=0)
        if number % 5000 == 0:
            producer.flush(60)
    producer.flush(60)
    producer.close()


def place(rig: Rig) -> int:
    """Return how far the joiner has read the predictions."""
    with raw_admin(rig.cluster) as client:
        group = rig.names.group("joiner")
        found = client.list_group_offsets([group])[group]
    return max((at.offset for tp, at in found.items() if TopicPartition(*tp).topic.endswith("predictions")), default=0)


def takes(rig: Rig) -> tuple[int, int]:
    """Return the bytes of memory and of disk that the joiner takes."""
    process = rig.members["joiner-0"].process
    assert process is not None
    files = rig.stream.home.rglob("joiner-0/*")
    return psutil.Process(process.pid).memory_info().rss, sum(file.stat().st_blocks * 512 for file in files)


def stands_still(rig: Rig) -> int:
    """Wait until the joiner reads no more predictions; return where it stands."""
    seen = [-1, place(rig)]
    while seen[-1] != seen[-2] or seen[-1] == 0:
        rig.work(1.5)
        seen.append(place(rig))
    return seen[-1]


@pytest.mark.full
@pytest.mark.fault("F15")
def test_at_the_cap_the_faster_topic_waits_and_nothing_is_thrown_away(capped: tuple[Rig, int], tally: Tally) -> None:
    rig, cap = capped
    total = 5 * cap
    joiner = rig.start("joiner")
    rig.until(lambda: "ready: " in joiner.said(), "the joiner to be ready")
    send(rig, "predictions", map(prediction, range(1000)))
    rig.until(lambda: place(rig) >= 1000, "the joiner to read")
    memory = takes(rig)[0]
    send(rig, "predictions", map(prediction, range(1000, total)))
    assert cap <= stands_still(rig) <= cap + 4000
    used = takes(rig)
    assert used[0] - memory < (64 << 20) + 1000 * cap
    assert used[1] < (64 << 20) + 1000 * cap
    joiner.kill()
    rig.until(lambda: joiner.said().count("ready: ") == 2, "the joiner to be back")
    assert cap <= stands_still(rig) <= cap + 4000
    send(rig, "labels", (Label(f"e{number}", True, NOW).encode() for number in range(total)))
    rig.until(lambda: rig.counted["examples"] >= total, f"{total} examples", 600)
    rig.end_roles()
    ids = Counter(peek_event_id(r.value) for r in read_all(rig.stream.bootstrap, rig.names.topic("examples")))
    lost, repeated = total - len(ids), ids.total() - len(ids)
    tally.row(1, lost, repeated)
    assert (lost, repeated) == (0, 0)
