"""Files that this process, and all that it starts, give up the right to read, by Linux's Landlock."""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from struct import Struct
from typing import Final

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # of all architectures
_PATH_BENEATH: Final = 1
_READ_FILE: Final = 1 << 2
_NO_NEW_PRIVILEGES: Final = 38  # of prctl(2)
_RULESET: Final = Struct("=Q")
_RULE: Final = Struct("=Qi")


def give_up_reading(files: Sequence[Path]) -> bool:
    """Give up the right to read some files, for ever; return whether the system can do that.

    What lies in a folder above one of them and is made there later cannot be read either: Landlock knows only what is
    allowed, so everything else that is there now is. A process of such a domain cannot look into the memory or the
    environment of the processes outside.

    It must be called while this process has one thread: it holds for the thread, and for those that it starts.
    """
    hidden = {Path(os.path.realpath(each)) for each in files if each.exists()}
    if not hidden:
        return True
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    attributes = _RULESET.pack(_READ_FILE)
    ruleset = libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        return False
    try:
        for path in _beside(hidden):
            _allow(libc, ruleset, path)
        libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        return int(libc.syscall(_RESTRICT_SELF, ruleset, 0)) == 0
    finally:
        os.close(ruleset)


def _beside(hidden: set[Path]) -> Iterator[Path]:
    """Yield all that lies beside the hidden files and the folders above them."""
    above = {folder for each in hidden for folder in each.parents}
    for folder in above:
        with contextlib.suppress(PermissionError):  # what cannot be listed is reached by name alone, and is not allowed
            yield from (entry for entry in folder.iterdir() if entry not in hidden and entry not in above)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return  # it is gone, or this process may not reach it
    try:
        if not stat.S_ISLNK(os.fstat(opened).st_mode):
            rule = _RULE.pack(_READ_FILE, opened)
            libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(opened)
