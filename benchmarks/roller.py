"""Publishes a version of 3 MB every second, as a learner would: `python -m benchmarks.roller`.

The versions are made beforehand: what is measured is how predictors take them, not how they are trained.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.material import MODELS, cycle
from benchmarks.role import STREAM, loaded
from consumers.checkpoints import MODEL_FILE
from millstream.settings import Settings
from model_store import Draft, VersionId, dumps, open_store
from schemas.cluster import Cluster
from schemas.events import ModelUpdate, Published

_FEATURES = 42_000


def large_model() -> Any:
    """Return a scaler and a logistic regression over many features, as for words or ids: about 3 MB pickled."""
    model = MODELS["lr"]()
    for _, row in cycle(200):
        model.learn_one(row.features, row.label)
    for start in range(0, _FEATURES, 500):
        model.learn_one({f"word-{number:06d}": 1.0 + number % 7 for number in range(start, start + 500)}, True)
    return model


def main(home: str, bootstrap: str, prefix: str, seconds: float) -> list[int]:
    """Publish until `seconds` are over, and return the sizes."""
    settings = Settings(Path(home), bootstrap, prefix)
    names = settings.names(STREAM)
    store = open_store(settings.models, settings.keys, sign=True)
    model = large_model()
    contract = loaded("lr").stream.contract.fingerprint()
    sizes: list[int] = []
    producer = Cluster(bootstrap).producer(linger_ms=0)
    versions = []
    for number in range(max(1, int(seconds))):
        model.learn_one({"word-000000": float(number)}, True)
        versions.append(dumps(model))
    began = time.monotonic()
    newest = store.versions(STREAM)[-1].examples
    for number, data in enumerate(versions):
        time.sleep(max(0.0, began + number - time.monotonic()))
        version = VersionId(STREAM, 1, newest + 1 + number)
        draft = Draft(
            version=version,
            parent=None,
            shard=0,
            topic_id="",
            offset=0,
            examples=version.examples,
            chain="",
            fingerprint="",
            definition="",
            contract=contract,
            created_at_ms=time.time_ns() // 1_000_000,
            metrics={},
            skipped=[],
            labels_from_ms=None,
            labels_to_ms=None,
            reason="benchmark",
            cpu="",
            extra={},
        )
        store.publish(draft, {MODEL_FILE: data})
        sizes.append(len(data))
        state = Published(STREAM, 0, 1, version.examples, "", 0, store.manifest_sha256(version), -1, -1, {})
        update = ModelUpdate(time.time_ns() // 1_000_000, state).encode()
        producer.send(names.topic("models"), update, state.key.encode(), None, 0)
        producer.flush()
    producer.close()
    return sizes


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])))
