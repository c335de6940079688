"""Model store: versions as signed manifests and data objects, restricted loading, retention."""

from model_store.address import below, folder_of, forget_models, is_object_store, open_backend
from model_store.backends import Backend, FolderBackend, MemoryBackend
from model_store.blobs import Blob
from model_store.copied_logs import LogCopy
from model_store.errors import (
    AlreadyExists,
    BadSignature,
    CannotPickle,
    Damaged,
    InvalidObjectName,
    NotFound,
    PickleNotAllowed,
    RevokedKey,
    StoreError,
    StoreUnavailable,
    VersionRefused,
    WrongLibraries,
)
from model_store.estimators import NoSkops, dumps_estimator, loads_estimator
from model_store.libraries import libraries
from model_store.manifest import Draft, FileRef, Manifest, VersionExists, as_json
from model_store.opening import open_store
from model_store.restricted_pickle import dump, dumps, globals_in, loads
from model_store.retention import Pruned, Retention
from model_store.signing import KeyProblem, PublicKeys, Signer, Trust
from model_store.store import ModelStore
from model_store.versions import InvalidVersion, VersionId

__all__ = [
    "AlreadyExists",
    "Backend",
    "BadSignature",
    "Blob",
    "CannotPickle",
    "Damaged",
    "Draft",
    "FileRef",
    "FolderBackend",
    "InvalidObjectName",
    "InvalidVersion",
    "KeyProblem",
    "LogCopy",
    "Manifest",
    "MemoryBackend",
    "ModelStore",
    "NoSkops",
    "NotFound",
    "PickleNotAllowed",
    "Pruned",
    "PublicKeys",
    "Retention",
    "RevokedKey",
    "Signer",
    "StoreError",
    "StoreUnavailable",
    "Trust",
    "VersionExists",
    "VersionId",
    "VersionRefused",
    "WrongLibraries",
    "as_json",
    "below",
    "dump",
    "dumps",
    "dumps_estimator",
    "folder_of",
    "forget_models",
    "globals_in",
    "is_object_store",
    "libraries",
    "loads",
    "loads_estimator",
    "open_backend",
    "open_store",
]
