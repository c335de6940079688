"""A Kafka client that nobody here wrote: what it sees of us, and what we make of what it writes."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from river import linear_model, preprocessing
from whole_loop import PARTITIONS, WholeLoop, whole_loop

from millstream import Stream
from schemas.topics import partition_of

pytestmark = [
    pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed"),
    pytest.mark.both_clients,
]

STREAM = Stream(
    name="visits", task="binary", model=lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression()
)


def kcat(bootstrap: str, *words: str, stdin: str = "") -> str:
    done = subprocess.run(
        ["kcat", "-b", bootstrap, "-q", *words], input=stdin, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def write(loop: WholeLoop, bootstrap: str, kind: str, rows: dict[str, dict[str, object]]) -> None:
    lines = "".join(f"{event_id}|{json.dumps({'event_id': event_id, **row})}\n" for event_id, row in rows.items())
    kcat(bootstrap, "-P", "-t", loop.names.topic(kind), "-K|", stdin=lines)


def test_features_and_labels_from_kcat_are_predicted_joined_and_learned(
    bootstrap: str, prefix: str, tmp_path: Path
) -> None:
    ids = [f"k{number}" for number in range(60)]
    with whole_loop(STREAM, bootstrap, prefix, tmp_path) as loop:
        write(loop, bootstrap, "features", {e: {"features": {"x": float(n)}} for n, e in enumerate(ids)})
        write(loop, bootstrap, "labels", {e: {"value": n % 2 == 0} for n, e in enumerate(ids)})
        loop.wait_until(lambda: loop.learned() == len(ids), "all of kcat's labels learned")

        copies = kcat(bootstrap, "-C", "-e", "-t", loop.names.topic("labels"), "-f", "%k %p %s\n").split("\n")
        places = [(key, int(number)) for key, number, value in (c.split(" ", 2) for c in copies if "{" in c)]
        assert {example.event.event_id for example in loop.examples()} == set(ids)

        said = kcat(bootstrap, "-C", "-e", "-t", loop.names.topic("predictions"), "-f", "%k %p %S\n").split("\n")
        seen = [line.split(" ") for line in said if line]
    # librdkafka hashes keys otherwise than Kafka's own clients: what it put elsewhere was forwarded.
    right = {(event_id, partition_of(event_id, PARTITIONS)) for event_id in ids}
    assert right <= set(places)
    wrong = set(places) - right
    assert wrong
    assert len(places) == len(ids) + len(wrong)
    assert sorted(key for key, _, _ in seen) == sorted(ids)
    assert all(int(where) == partition_of(key, PARTITIONS) for key, where, _ in seen)
    assert all(int(size) > 20 for _, _, size in seen)
