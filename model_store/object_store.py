"""Backend in an object store: S3, Google Cloud Storage or Azure, through one library (obstore).

Every call has a time limit: a store that hangs counts as unavailable. If the answer to a write was lost, the backend
reads the name: if it holds exactly the written bytes, the write succeeded.
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
    """Time limits for calls to a store, in seconds.

    A learner waits for its checkpoint, which is one large file and a few small calls, and its loop counts as stuck
    after 60 s.

    Attributes
    ----------
    connect, request
        Limit of one connection attempt, and of one request, which carries at most 8 MB.
    call
        Limit of one call with all its attempts.
    file
        Limit of writing a large file.
    attempts
        Number of attempts of one call.
    """

    connect: float = 2.0
    request: float = 5.0
    call: float = 10.0
    file: float = 30.0
    attempts: int = 3


PATIENCE: Final = Patience()


class ObjectBackend:
    """Backend under a prefix in a bucket. Credentials come from the environment variables that obstore documents.

    Parameters
    ----------
    url
        ``s3://bucket/prefix``, ``gs://…`` or ``az://container/prefix``.

    Raises
    ------
    StoreError
        If the library is not installed, or the address or its options are invalid.
    """

    def __init__(self, url: str, patience: Patience = PATIENCE) -> None:
        self._url = checked_url(url)
        self._patience = patience
        self._store = _open(self._url, patience, retries=0)
        # The library may retry parts of an upload, because they are invisible until the last one is written.
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
                # Some stores report the same for a name that is just being created: read it to find out.
                if self._whole(name) == body and unsure:
                    return  # the previous attempt succeeded, only its answer was lost
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
            # The name is the content's hash, so a concurrent writer writes the same bytes.
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

    def folders(self) -> list[str]:
        import obstore

        def listed() -> list[str]:
            return list(obstore.list_with_delimiter(self._store)["common_prefixes"])

        found = (name.strip("/") for name in self._tried("the store", "listed", listed))
        return sorted(name for name in found if _is_name(name))

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
        """Repeat a call until it succeeds, within the limits. Raises NotFound, AlreadyExists, StoreUnavailable."""
        deadline = time.monotonic() + self._patience.call - self._patience.request
        for attempt in range(1, self._patience.attempts + 1):
            try:
                return call()
            except StoreError:
                raise
            except FileNotFoundError as error:
                if what != "written":
                    raise NotFound(f"{name} is not in the store at {self._url}") from error
                failed: Exception = error  # it existed a moment ago, or is just being created
            except Exception as error:
                failed = error
                if type(error).__name__ in _HOPELESS:
                    raise self._explained(name, what, error) from error
            pause = random.uniform(0.5, 1.0) * 0.1 * 4**attempt  # noqa: S311 - so that clients do not retry together
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
    """Return the address of an object store in a form without secrets. Raises StoreError.

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
        # The library ignores this environment variable if options are given.
        "allow_http": any(os.environ.get(name, "").lower() in ("1", "true", "yes") for name in _ALLOW_HTTP),
    }
    retry: Any = {"max_retries": retries, "retry_timeout": timedelta(seconds=patience.call)}
    try:
        return from_url(url, client_options=client, retry_config=retry)
    except Exception as error:
        raise StoreError(f"model store {url!r} cannot be opened: {_reason(error)}") from error


def _reason(error: Exception, environ: Mapping[str, str] = os.environ) -> str:
    """Return the first line of a library's error message, without quoted credentials."""
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
