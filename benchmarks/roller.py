"""Publishes a large version again and again, as a learner would: `python -m benchmarks.roller`.

The versions are made beforehand: what is measured is how predictors take them, not how they are trained.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.material import MODELS, cycle
from benchmarks.role import STREAM, loaded
from consumers.model.checkpoints import MODEL_FILE
from millstream.config.settings import Settings
from model_store import Draft, VersionId, dump, open_store
from runtime.kafka_client.cluster import Cluster
from schemas.model_updates import ModelUpdate, Published

_FEATURES_A_MEGABYTE = 17_000
_AT_ONCE = 500


def large_model(megabytes: float) -> Any:
    """Return a scaler and a logistic regression over many features, as for words or ids: so large when pickled."""
    model = MODELS["lr"]()
    for _, row in cycle(200):
        model.learn_one(row.features, row.label)
    for start in range(0, int(megabytes * _FEATURES_A_MEGABYTE), _AT_ONCE):
        model.learn_one({f"word-{number:07d}": 1.0 + number % 7 for number in range(start, start + _AT_ONCE)}, True)
    return model


def main(home: str, bootstrap: str, prefix: str, seconds: float, megabytes: float = 3.0, every: float = 1.0) -> int:
    """Publish a version `every` so many seconds until `seconds` are over, and return the size of the last."""
    settings = Settings(Path(home), bootstrap, prefix)
    names = settings.names(STREAM)
    store = open_store(settings.models, settings.keys, sign=True)
    model = large_model(megabytes)
    contract = loaded("lr").stream.contract.fingerprint()
    versions = []
    for number in range(max(1, int(seconds / every))):
        model.learn_one({"word-0000000": float(number)}, True)
        versions.append(dump(model))
    print("made", flush=True)
    producer = Cluster(bootstrap).producer(linger_ms=0)
    began = time.monotonic()
    newest = store.versions(STREAM)[-1].examples
    for number, data in enumerate(versions):
        time.sleep(max(0.0, began + number * every - time.monotonic()))
        version = VersionId(STREAM, 1, newest + 1 + number)
        draft = Draft(
            version=version,
            topic_id="",
            offset=0,
            examples=version.examples,
            chain="",
            fingerprint="",
            definition="",
            contract=contract,
            created_at_ms=time.time_ns() // 1_000_000,
            reason="benchmark",
        )
        store.publish(draft, {MODEL_FILE: data})
        state = Published(STREAM, 0, 1, version.examples, "", 0, store.manifest_sha256(version), -1, -1, {})
        update = ModelUpdate(time.time_ns() // 1_000_000, state).encode()
        producer.send(names.topic("models"), update, state.key.encode(), None, 0)
        producer.flush()
    producer.close()
    return versions[-1].size


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2], sys.argv[3], *map(float, sys.argv[4:])))
