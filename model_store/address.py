"""Which backend an address means."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from model_store.backends import Backend, FolderBackend
from model_store.errors import StoreError


def open_backend(address: str | Path) -> Backend:
    """Return the backend at a folder, a path or ``file://``.

    Raises
    ------
    StoreError
        Where it is of a kind that is not supported.
    StoreUnavailable
        Where a folder cannot be made.
    """
    text = str(address)
    if "://" in text:
        parts = urlsplit(text)
        if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
            raise StoreError(f"model store {text!r}: only folders are supported, as a path or file:///path")
        text = unquote(parts.path)
    if not text or "\0" in text:
        raise StoreError(f"model store {text!r}: name a folder, as a path or file:///path")
    return FolderBackend(Path(text))
