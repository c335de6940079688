"""The folder of uploads: what servers receive, what waits for the importer, and what became of it."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Literal

import msgspec

from runtime.failpoints import failpoint
from server.spool.folder import replace_file, sync_folder

UPLOADS: Final = "uploads"
"""Name of the folder, in the state folder of a stream."""
SOURCE: Final = "upload:"
"""Beginning of the topic that dead letters of uploaded rows name; the upload's id follows."""
_BEFORE_COMPLETE: Final = failpoint("upload.complete.before")
_AFTER_COMPLETE: Final = failpoint("upload.complete.after")
_ID: Final = re.compile(r"[0-9]{13}-[0-9a-f]{16}")
_DATA: Final = "data"
_UNCHECKED: Final = "unchecked"
_ABANDONED_S: Final = 60.0
_RESULT_S: Final = 7 * 86_400.0


class Meta(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of an upload before its rows.

    Attributes
    ----------
    name
        Name of the file, as the caller gave it; empty if none was given.
    suffix
        Format, as the suffix of a file; empty to recognise it by its content.
    length
        Size, bytes; -1 if it is not known yet.
    resumable
        True for an upload that may come in parts (tus).
    strict
        Import nothing if a row is refused.
    by
        Name of the caller's token.
    described
        What the caller said of it (tus: Upload-Metadata), to be returned as it is.
    """

    name: str = ""
    suffix: str = ""
    length: int = -1
    resumable: bool = False
    strict: bool = False
    by: str = ""
    described: str = ""


class Refusal(msgspec.Struct, frozen=True):
    """One refused row, by its line (in an Avro file: its number), and why."""

    line: int
    reason: str


class Problem(msgspec.Struct, frozen=True):
    """Why nothing of an upload was imported."""

    code: str
    message: str


State = Literal["receiving", "waiting", "imported", "refused"]


class Result(msgspec.Struct, frozen=True):
    """State of an upload.

    Attributes
    ----------
    state
        ``receiving``: it has not come whole. ``waiting``: for the importer, or it is imported now. ``imported``.
        ``refused``: nothing of it is in the log, see `error`.
    bytes, length
        What has come, and what will; -1 if that is not known.
    taken
        Rows that are new examples of the log.
    already
        Rows that were in the log before, because the same content was imported before.
    refused
        Rows that are no examples; the first of them are `refusals`.
    lane
        Lane of the examples.
    repeated_ids
        Rows that have the id of an earlier row; each is an example.
    """

    id: str
    state: State
    name: str = ""
    bytes: int = 0
    length: int = -1
    taken: int = 0
    already: int = 0
    refused: int = 0
    refusals: tuple[Refusal, ...] = ()
    lane: str = ""
    repeated_ids: int = 0
    error: Problem | msgspec.UnsetType = msgspec.UNSET


class Begun(msgspec.Struct, frozen=True):
    """Rows of the same content that were handled before this upload: examples, and refused ones."""

    examples: int
    refused: int


_read_meta: Final = msgspec.json.Decoder(Meta).decode
_read_result: Final = msgspec.json.Decoder(Result).decode
_read_begun: Final = msgspec.json.Decoder(Begun).decode


class NoSuchUpload(Exception):  # noqa: N818
    """There is no upload of this id, or it is not in the state that is asked for."""


class UploadBusy(Exception):  # noqa: N818
    """Another request sends this upload now."""


class Upload:
    """One upload in one of the folders."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name
        self.data = path / _DATA

    def meta(self) -> Meta:
        """Return its description. Raises NoSuchUpload if it has gone."""
        try:
            return _read_meta((self.path / "meta.json").read_bytes())
        except (FileNotFoundError, msgspec.DecodeError):
            raise NoSuchUpload(f"there is no upload {self.id}") from None

    def describe(self, meta: Meta) -> None:
        """Write its description."""
        replace_file(self.path / "meta.json", msgspec.json.encode(meta), sync=True)

    def size(self) -> int:
        """Return the bytes that have come and that count. Raises NoSuchUpload if it has gone."""
        try:
            size = self.data.stat().st_size
        except FileNotFoundError:
            raise NoSuchUpload(f"there is no upload {self.id}") from None
        return min(size, self._unchecked(size))

    def _unchecked(self, default: int) -> int:
        with suppress(FileNotFoundError, ValueError):
            return int((self.path / _UNCHECKED).read_text())
        return default

    def expect_check(self, size: int) -> None:
        """Note that what comes after `size` bytes counts only once its checksum is right."""
        replace_file(self.path / _UNCHECKED, str(size).encode(), sync=True)

    def checked(self) -> None:
        """Let everything that has come count."""
        (self.path / _UNCHECKED).unlink(missing_ok=True)

    def begun(self, now: Begun | None = None) -> Begun:
        """Return what was in the log before this upload: as noted, else `now`, which is noted then."""
        noted = self.path / "begun.json"
        with suppress(FileNotFoundError, msgspec.DecodeError):
            return _read_begun(noted.read_bytes())
        found = now or Begun(0, 0)
        if now is not None:
            replace_file(noted, msgspec.json.encode(found), sync=True)
        return found

    def attempts(self) -> int:
        """Return how many imports of it ended without a reason that lies elsewhere."""
        with suppress(FileNotFoundError, ValueError):
            return int((self.path / "attempts").read_text())
        return 0

    def note_attempts(self, count: int) -> None:
        """Write that number."""
        replace_file(self.path / "attempts", str(count).encode())


class UploadFolder:
    """The folder of uploads of one stream on this machine; made if it does not exist.

    The format; each upload is a folder named by its id, ``<ms since 1970>-<16 hex digits>``::

        partial/<id>/   meta.json (`Meta`), data; `unchecked` there holds the size before a part whose checksum is
                        not known to be right; `data` is locked by the request that writes it
        complete/<id>/  the same, whole and synced; begun.json (`Begun`) from the importer's first look at it, and
                        `attempts`
        done/<id>.json  the result (`Result`)
        importer.lock   held by the importer
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._partial, self._complete, self._done = (path / each for each in ("partial", "complete", "done"))
        for folder in (self._partial, self._complete, self._done):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    # --- receiving ---------------------------------------------------------------------------------

    def create(self, meta: Meta) -> Upload:
        """Make a new upload without data."""
        upload = Upload(self._partial / f"{time.time_ns() // 1_000_000:013d}-{secrets.token_hex(8)}")
        upload.path.mkdir(mode=0o700)
        os.close(os.open(upload.data, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        upload.describe(meta)
        sync_folder(self._partial)
        return upload

    def partial(self, upload_id: str) -> Upload:
        """Return an upload that is not whole. Raises NoSuchUpload."""
        upload = Upload(self._partial / _checked(upload_id))
        upload.meta()
        return upload

    @contextmanager
    def writing(self, upload: Upload) -> Iterator[int]:
        """Yield a descriptor at the end of what counts of its data; no other request may write to it meanwhile.

        Raises
        ------
        UploadBusy, NoSuchUpload
        """
        try:
            descriptor = os.open(upload.data, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NoSuchUpload(f"there is no upload {upload.id}") from None
        try:
            _lock(descriptor, upload)
            size = upload.size()  # it may have been removed, or completed, before it was locked
            os.ftruncate(descriptor, size)
            os.lseek(descriptor, size, os.SEEK_SET)
            upload.checked()
            yield descriptor
        finally:
            os.close(descriptor)

    def complete(self, upload: Upload, descriptor: int) -> None:
        """Hand a whole upload to the importer. From here on it survives a power failure."""
        os.fsync(descriptor)
        sync_folder(upload.path)
        _BEFORE_COMPLETE()
        upload.path.rename(self._complete / upload.id)
        sync_folder(self._complete)
        sync_folder(self._partial)
        _AFTER_COMPLETE()

    def settle(self, upload_id: str) -> None:
        """Hand an upload over that has come whole, if its process was killed before that."""
        with suppress(NoSuchUpload, UploadBusy):
            upload = self.partial(upload_id)
            if upload.size() == upload.meta().length and _is_resumable(upload):
                with self.writing(upload) as descriptor:
                    self.complete(upload, descriptor)

    def remove(self, upload: Upload) -> None:
        """Delete an upload that is not whole."""
        shutil.rmtree(upload.path, ignore_errors=True)

    def sweep(self, expire_s: float) -> None:
        """Delete what will not be continued: uploads whose request has ended, expired ones, and old results."""
        now = time.time()
        for upload in self._uploads(self._partial):
            with suppress(OSError, NoSuchUpload, UploadBusy):
                self.settle(upload.id)
                age = now - max(upload.path.stat().st_mtime, upload.data.stat().st_mtime)
                if age < _ABANDONED_S or (_is_resumable(upload) and age < expire_s):
                    continue
                with self.writing(upload):
                    self.remove(upload)
        for result in self._done.glob("*.json"):
            with suppress(OSError):
                if now - result.stat().st_mtime > _RESULT_S:
                    result.unlink()

    # --- sizes and states --------------------------------------------------------------------------

    def bytes(self) -> int:
        """Return the bytes of all uploads that are not imported."""
        found = 0
        for folder in (self._partial, self._complete):
            for upload in self._uploads(folder):
                with suppress(OSError):
                    found += upload.data.stat().st_size
        return found

    def count(self) -> int:
        """Return the number of uploads that are not imported."""
        return len(self._uploads(self._partial)) + len(self._uploads(self._complete))

    def state(self, upload_id: str) -> Result:
        """Return the state of an upload. Raises NoSuchUpload."""
        name = _checked(upload_id)
        # In the order in which an upload moves, so that one that moves meanwhile is found.
        with suppress(NoSuchUpload):
            upload = Upload(self._partial / name)
            meta = upload.meta()
            return Result(name, "receiving", meta.name, upload.size(), meta.length)
        with suppress(NoSuchUpload):
            upload = Upload(self._complete / name)
            meta = upload.meta()
            size = upload.size()
            return self.result(name) or Result(name, "waiting", meta.name, size, size)
        found = self.result(name)
        if found is None:
            raise NoSuchUpload(
                f"there is no upload {name}: it was deleted, has expired, or its result is older than 7 days"
            )
        return found

    def described(self, upload_id: str) -> Meta:
        """Return the description of an upload that is not imported. Raises NoSuchUpload."""
        name = _checked(upload_id)
        with suppress(NoSuchUpload):
            return Upload(self._partial / name).meta()
        return Upload(self._complete / name).meta()

    def result(self, upload_id: str) -> Result | None:
        """Return the result of an upload, `None` if it has none yet."""
        try:
            return _read_result((self._done / f"{_checked(upload_id)}.json").read_bytes())
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    # --- importing ---------------------------------------------------------------------------------

    def waiting(self) -> list[Upload]:
        """Return the whole uploads, oldest first."""
        return self._uploads(self._complete)

    def finish(self, upload: Upload, result: Result) -> None:
        """Write the result of an upload, and delete its data."""
        replace_file(self._done / f"{upload.id}.json", msgspec.json.encode(result), sync=True)
        shutil.rmtree(upload.path)

    @staticmethod
    def _uploads(folder: Path) -> list[Upload]:
        return [Upload(folder / name) for name in sorted(os.listdir(folder)) if _ID.fullmatch(name)]


def _checked(upload_id: str) -> str:
    """Return the id if it can be one: it is the name of a folder. Raises NoSuchUpload."""
    if _ID.fullmatch(upload_id) is None:
        raise NoSuchUpload("there is no upload of this id")
    return upload_id


def _lock(descriptor: int, upload: Upload) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise UploadBusy(f"another request sends upload {upload.id} now") from None


def _is_resumable(upload: Upload) -> bool:
    """Return whether its caller may come back; one without a description was never answered."""
    try:
        return upload.meta().resumable
    except NoSuchUpload:
        return False
