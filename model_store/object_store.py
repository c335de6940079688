"""Versions in an object store: S3, Google Cloud Storage or Azure, through one library (obstore).

Every call is bounded: a store that hangs is one that is away. What an attempt has done whose answer was lost is
found out by reading: a name that is taken by the very bytes that were being put was put by this process.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from model_store.backends import check_name
from model_store.errors import AlreadyExists, Damaged, InvalidObjectName, NotFound, StoreError, StoreUnavailable

if TYPE_CHECKING:
    from obstore.store import ObjectStore

Result = TypeVar("Result")

SCHEMES: Final = ("s3", "gs", "az")
_PIECE: Final = 8 << 20
_AT_ONCE: Final = 4
_ALLOW_HTTP: Final = ("AWS_ALLOW_HTTP", "GOOGLE_ALLOW_HTTP", "AZURE_ALLOW_HTTP")
_SECRETS: Final = re.compile(r"AWS_|AZURE_|GOOGLE_")
_QUOTED: Final = re.compile(r"(status code: \d+ [^:<]*).*|<.*")
_LONGEST_REASON: Final = 240


@dataclass(frozen=True)
class Patience:
    """How long a store is waited for, in seconds.

    A learner waits for its checkpoint, and its loop counts as stuck after 60 s: a version is one file put and a
    few small calls.

    Attributes
    ----------
    connect, request
        One connection; one request, which carries at most 8 MB.
    call
        One call with all its attempts.
    file
        Putting a large file.
    attempts
        Of one call.
    """

    connect: float = 2.0
    request: float = 5.0
    call: float = 10.0
    file: float = 30.0
    attempts: int = 3


PATIENCE: Final = Patience()


class ObjectBackend:
    """Under a prefix in a bucket. Credentials come from the environment, as the library's documentation names them.

    Parameters
    ----------
    url
        ``s3://bucket/prefix``, ``gs://…`` or ``az://container/prefix``.

    Raises
    ------
    StoreError
        Where the library is not installed, or the address or its options cannot be used.
    """

    def __init__(self, url: str, patience: Patience = PATIENCE) -> None:
        self._url = checked_url(url)
        self._patience = patience
        self._store = _open(self._url, patience, retries=0)
        # Parts of an upload can be put again by the library itself: nobody sees them before the last one.
        self._uploads = _open(self._url, patience, retries=patience.attempts - 1)

    def put_new(self, name: str, data: bytes) -> None:
        check_name(name)
        import obstore
        from obstore.exceptions import AlreadyExistsError

        body = bytes(data)
        unsure = False

        def put() -> None:
            nonlocal unsure
            try:
                obstore.put(self._store, name, body, mode="create", use_multipart=False)
            except AlreadyExistsError as error:
                # Some stores say so of a name that another is just creating, too: look whether it is there.
                if self._whole(name) == body and unsure:
                    return  # the attempt before had arrived, and its answer had not
                raise AlreadyExists(f"{name} is there already") from error
            except Exception:
                unsure = True
                raise

        self._tried(name, "written", put)

    def put_file(self, name: str, path: Path) -> None:
        check_name(name)
        if path.stat().st_size <= _PIECE:
            self.put_new(name, path.read_bytes())
            return
        if self._there(name):
            raise AlreadyExists(f"{name} is there already")
        try:
            # The name is made of the content: who puts it at the same time puts the same bytes.
            asyncio.run(asyncio.wait_for(self._upload(name, path), self._patience.file))
        except TimeoutError as error:
            raise self._unavailable(name, "written", f"not done within {self._patience.file:g} s") from error
        except Exception as error:
            raise self._explained(name, "written", error) from error

    async def _upload(self, name: str, path: Path) -> None:
        import obstore

        await obstore.put_async(
            self._uploads, name, path, use_multipart=True, chunk_size=_PIECE, max_concurrency=_AT_ONCE
        )

    def get(self, name: str, limit_bytes: int) -> bytes:
        pieces: list[bytes] = []
        self.fetch(name, limit_bytes, pieces.append)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def fetch(self, name: str, limit_bytes: int, into: Callable[[bytes], object]) -> None:
        check_name(name)
        import obstore

        def first() -> tuple[int, bytes | None]:
            found = obstore.get(self._store, name)
            size: int = found.meta["size"]
            return size, bytes(found.bytes()) if size <= min(_PIECE, limit_bytes) else None

        size, whole = self._tried(name, "read", first)
        if size > limit_bytes:
            raise Damaged(f"{name} has {size} bytes; at most {limit_bytes} are read")
        if whole is not None:
            into(whole)
            return
        for start in range(0, size, _PIECE):
            end = min(start + _PIECE, size)
            into(self._tried(name, "read", lambda s=start, e=end: self._range(name, s, e)))  # type: ignore[misc]

    def _range(self, name: str, start: int, end: int) -> bytes:
        import obstore

        return bytes(obstore.get_range(self._store, name, start=start, end=end))

    def names(self, prefix: str) -> list[str]:
        check_name(prefix)
        import obstore

        def listed() -> list[str]:
            return [each["path"] for page in obstore.list(self._store, prefix) for each in page]

        return sorted(name for name in self._tried(prefix, "listed", listed) if _is_name(name))

    def delete(self, name: str) -> None:
        check_name(name)
        import obstore

        try:
            self._tried(name, "deleted", lambda: obstore.delete(self._store, name))
        except NotFound:
            return

    # --- attempts ----------------------------------------------------------------------------------

    def _whole(self, name: str) -> bytes:
        import obstore

        return bytes(obstore.get(self._store, name).bytes())

    def _there(self, name: str) -> bool:
        import obstore

        try:
            self._tried(name, "looked for", lambda: obstore.head(self._store, name))
        except NotFound:
            return False
        return True

    def _tried(self, name: str, what: str, call: Callable[[], Result]) -> Result:
        """Call until it works, within bounds. NotFound, AlreadyExists and StoreUnavailable come out."""
        deadline = time.monotonic() + self._patience.call - self._patience.request
        for attempt in range(1, self._patience.attempts + 1):
            try:
                return call()
            except StoreError:
                raise
            except FileNotFoundError as error:
                if what != "written":
                    raise NotFound(f"{name} is not in the store at {self._url}") from error
                failed: Exception = error  # it was there a moment ago, or is just being made
            except Exception as error:
                failed = error
                if type(error).__name__ in _HOPELESS:
                    raise self._explained(name, what, error) from error
            pause = random.uniform(0.5, 1.0) * 0.1 * 4**attempt  # noqa: S311 - not to meet again
            if attempt == self._patience.attempts or time.monotonic() + pause > deadline:
                break
            time.sleep(pause)
        raise self._explained(name, what, failed) from failed

    def _explained(self, name: str, what: str, error: Exception) -> StoreUnavailable:
        return self._unavailable(name, what, _reason(error))

    def _unavailable(self, name: str, what: str, reason: str) -> StoreUnavailable:
        return StoreUnavailable(f"model store {self._url}: {name} cannot be {what}: {reason}")


_HOPELESS: Final = frozenset({"PermissionDeniedError", "UnauthenticatedError", "NotSupportedError", "InvalidPathError"})


def checked_url(url: str) -> str:
    """Return the address of an object store as it can be used and shown. StoreError.

    >>> checked_url("s3://bucket/models/")
    's3://bucket/models'
    """
    parts = urlsplit(url)
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if parts.scheme not in SCHEMES or not parts.netloc:
        raise StoreError(
            f"model store {shown!r}: write s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"
        )
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise StoreError(
            f"model store {shown!r}: options and credentials do not belong into the address; "
            "set them in the environment (AWS_ENDPOINT, AWS_REGION, ...)"
        )
    if any(part in (".", "..") for part in parts.path.split("/")) or "//" in parts.path or "\\" in parts.path:
        raise InvalidObjectName(f"model store {shown!r}: its path leads elsewhere than it says")
    return url.rstrip("/")


def _open(url: str, patience: Patience, retries: int) -> ObjectStore:
    try:
        from obstore.store import from_url
    except ImportError as error:
        raise StoreError(f"model store {url!r} needs a library: pip install 'millstream[objects]'") from error
    client: Any = {
        "connect_timeout": timedelta(seconds=patience.connect),
        "timeout": timedelta(seconds=patience.request),
        # Given options displace the library's own reading of this one.
        "allow_http": any(os.environ.get(name, "").lower() in ("1", "true", "yes") for name in _ALLOW_HTTP),
    }
    retry: Any = {"max_retries": retries, "retry_timeout": timedelta(seconds=patience.call)}
    try:
        return from_url(url, client_options=client, retry_config=retry)
    except Exception as error:
        raise StoreError(f"model store {url!r} cannot be opened: {_reason(error)}") from error


def _reason(error: Exception, environ: Mapping[str, str] = os.environ) -> str:
    """Return the first line of what the library says, without what a server quotes of credentials."""
    text = _QUOTED.sub(r"\1", str(error).split("\n", 1)[0])
    for name, value in environ.items():
        if _SECRETS.match(name) and len(value) >= 8 and ("KEY" in name or "TOKEN" in name or "SECRET" in name):
            text = text.replace(value, "***")
    return text[:_LONGEST_REASON] or type(error).__name__


def _is_name(name: str) -> bool:
    try:
        check_name(name)
    except InvalidObjectName:
        return False
    return True
