"""Addresses of model stores: opens the backend of a folder (path, ``file://``) or an object store."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

from model_store.backends import Backend, FolderBackend
from model_store.errors import StoreError
from model_store.object_store import SCHEMES, ObjectBackend, checked_url
from model_store.versions import check_model
from schemas.model_names import stream_of


def is_object_store(address: str | Path) -> bool:
    """Return whether an address belongs to an object store, so that every call uses the network.

    >>> is_object_store("s3://bucket/models"), is_object_store("/var/lib/models")
    (True, False)
    """
    return "://" in str(address) and urlsplit(str(address)).scheme != "file"


def below(address: str, folder: str) -> str:
    """Return the address of a folder below an address.

    >>> below("s3://bucket/models/", "test-"), below("file:///models", "test-"), below("/models", "")
    ('s3://bucket/models/test-', 'file:///models/test-', '/models')
    """
    return f"{address.rstrip('/')}/{folder}" if folder else address


def open_backend(address: str | Path) -> Backend:
    """Return the backend at an address.

    Raises
    ------
    StoreError
        If its kind is not supported, or its library is missing.
    StoreUnavailable
        If a folder cannot be created.
    """
    text = str(address)
    if is_object_store(text):
        scheme = urlsplit(text).scheme
        if scheme not in SCHEMES:
            raise StoreError(
                f"model store {_shown(text)!r}: name a folder, as a path or file:///path, or an object store, "
                "as s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"
            )
        return ObjectBackend(checked_url(text))
    return FolderBackend(folder_of(text))


def folder_of(address: str) -> Path:
    """Return the folder of an address (a path or ``file://``). Raises StoreError if it is not a folder."""
    folder = address
    if "://" in address:
        parts = urlsplit(address)
        if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
            raise StoreError(f"model store {_shown(address)!r}: a folder is a path or file:///path, on this machine")
        folder = unquote(parts.path)
    if not folder or "\0" in folder:
        raise StoreError(f"model store {address!r}: name a folder, as a path or file:///path")
    return Path(folder)


def _shown(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def forget_models(address: str | Path, stream: str) -> None:
    """Delete everything of a stream's models in a store, also of those that its file no longer has.

    Raises StoreError, StoreUnavailable.
    """
    check_model(stream)
    backend = open_backend(address)
    for model in [each for each in backend.folders() if stream_of(each) == stream]:
        for name in backend.names(model):
            backend.delete(name)
        if not is_object_store(address):
            shutil.rmtree(folder_of(str(address)) / model, ignore_errors=True)  # with the empty folders
