"""Opening of the store at an address."""

from __future__ import annotations

from pathlib import Path

from model_store.address import open_backend
from model_store.signing import open_signer, open_trust
from model_store.store import ModelStore


def open_store(address: str | Path, keys: Path, *, sign: bool) -> ModelStore:
    """Return the store at an address, with the keys in folder `keys`. Raises StoreError, KeyProblem."""
    backend = open_backend(address)
    signer = open_signer(keys) if sign else None
    return ModelStore(backend, open_trust(keys), signer)
