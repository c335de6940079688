"""Files that an evaluation writes: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

_MODE: Final = 0o666  # less what the process's umask takes away
_LONGEST: Final = 200  # letters of a name, so that the longer one of the scratch file is still allowed


class NotWritten(Exception):  # noqa: N818
    """A file cannot be written; the message says why, and what to do."""


def require_place(option: str, path: Path, inputs: tuple[str, ...]) -> None:
    """Check before a long computation that a file can be written there.

    Parameters
    ----------
    option
        What named the file, such as ``--html``.
    inputs
        What is read, which must not be overwritten.

    Raises
    ------
    NotWritten
        If that is certain to fail.
    """
    try:
        why = _why_not(path.resolve(), inputs)
    except OSError as error:
        why = f"{error.strerror}; name another place"
    if why is not None:
        raise NotWritten(f"{option} {path}: {why}")


def _why_not(target: Path, inputs: tuple[str, ...]) -> str | None:
    folder = target.parent
    if not folder.is_dir():
        return f"there is no folder {folder}; make it, or name another"
    if not os.access(folder, os.X_OK):
        return f"{folder} may not be written to; name another place"
    if target.is_dir():
        return "this is a folder; name a file in it"
    if any(target == Path(each).resolve() for each in inputs):
        return "that would overwrite what is read; name another file"
    there = target if target.exists() and not target.is_file() else folder
    return None if os.access(there, os.W_OK) else f"{there} may not be written to; name another place"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under another name and rename it, so that readers see the old content or all of the new.

    What is no regular file, such as a pipe, is written directly.

    Raises
    ------
    NotWritten
        If it cannot be written; a file that was there is as it was.
    """
    target = path.resolve()  # a link stays, and what it leads to is written
    try:
        if target.exists() and not target.is_file():
            target.write_bytes(content)
        else:
            _replace(target, content)
    except OSError as error:
        raise NotWritten(f"{path} cannot be written: {error.strerror}; name another place") from error


def _replace(target: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:_LONGEST]}.")
    scratch = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.chmod(target.stat().st_mode if target.exists() else _MODE & ~_umask())
        scratch.replace(target)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def _umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
