"""Files that another process has written, read without trust in what they are."""

from __future__ import annotations

import os
import stat
from pathlib import Path


class InvalidFile(Exception):  # noqa: N818
    """It is not there, is no plain file, or is too large."""


def read_plain_file(path: Path, most_bytes: int) -> bytes:
    """Return the content of a file; a link is not followed, and a pipe is not waited for.

    Raises
    ------
    InvalidFile
        If it is not a plain file of at most `most_bytes`.
    """
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidFile(f"{path.name}: {error.strerror}") from error
    try:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            raise InvalidFile(f"{path.name} is not a plain file")
        if found.st_size > most_bytes:
            raise InvalidFile(f"{path.name} has {found.st_size} bytes; at most {most_bytes}")
        with os.fdopen(opened, "rb", closefd=False) as file:
            data = file.read(most_bytes + 1)
    finally:
        os.close(opened)
    if len(data) > most_bytes:
        raise InvalidFile(f"{path.name} has more than {most_bytes} bytes")
    return data
