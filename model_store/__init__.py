"""Where a model version lives: signed manifests, data objects, restricted loading, retention."""

from model_store.address import open_backend
from model_store.backends import Backend, FolderBackend, MemoryBackend
from model_store.errors import (
    AlreadyExists,
    BadSignature,
    CannotPickle,
    Damaged,
    InvalidName,
    NotAllowed,
    NotFound,
    Refused,
    StoreError,
    StoreUnavailable,
    WrongLibraries,
)
from model_store.libraries import libraries
from model_store.manifest import Draft, FileRef, Manifest
from model_store.restricted import dumps, globals_in, loads
from model_store.retention import Retention
from model_store.signing import KeyProblem, Signer, Trust
from model_store.store import ModelStore, Pruned, as_json, open_store
from model_store.versions import InvalidVersion, VersionId

__all__ = [
    "AlreadyExists",
    "Backend",
    "BadSignature",
    "CannotPickle",
    "Damaged",
    "Draft",
    "FileRef",
    "FolderBackend",
    "InvalidName",
    "InvalidVersion",
    "KeyProblem",
    "Manifest",
    "MemoryBackend",
    "ModelStore",
    "NotAllowed",
    "NotFound",
    "Pruned",
    "Refused",
    "Retention",
    "Signer",
    "StoreError",
    "StoreUnavailable",
    "Trust",
    "VersionId",
    "WrongLibraries",
    "as_json",
    "dumps",
    "globals_in",
    "libraries",
    "loads",
    "open_backend",
    "open_store",
]
