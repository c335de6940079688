"""Small versions for tests of the store and of what follows it."""

from __future__ import annotations

from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from river import linear_model, preprocessing

from model_store import Backend, Draft, Manifest, ModelStore, Signer, Trust, VersionId, dumps

SIGNER = Signer(Ed25519PrivateKey.generate())
OTHER = Signer(Ed25519PrivateKey.generate())
MADE_MS = 1_700_000_000_000


def model_of(examples: int) -> Any:
    """Return a pipeline that has learned so many examples."""
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    for number in range(examples):
        model.learn_one({"x": float(number % 7), "y": 1.0 / (number + 1)}, number % 7 > 3)
    return model


def version(epoch: int, examples: int, model: str = "m") -> VersionId:
    return VersionId(model, epoch, examples)


def draft(of: VersionId, **changed: Any) -> Draft:
    """Return what a learner would say of a version."""
    return msgspec.structs.replace(
        Draft(
            version=of,
            topic_id="topic",
            offset=of.examples,
            examples=of.examples,
            chain=f"{of.examples:064x}",
            fingerprint="f" * 64,
            definition="d",
            contract="c",
            created_at_ms=MADE_MS + of.examples,
        ),
        **changed,
    )


def store_on(backend: Backend, signer: Signer | None = SIGNER, trust: Trust | None = None) -> ModelStore:
    """Return a store that trusts `SIGNER`."""
    return ModelStore(backend, trust or Trust.of(SIGNER.public), signer)


def publish(store: ModelStore, of: VersionId, **changed: Any) -> Manifest:
    """Publish a small real version."""
    files = {"model": dumps(model_of(min(of.examples, 50))), "state": dumps({"n": of.examples})}
    return store.publish(draft(of, **changed), files)
