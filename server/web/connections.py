"""Limits of connections: their number, and the time for which a response may stay unread."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import stat
from pathlib import Path
from typing import Final

_MOST: Final = 16_384
_OWN_FILES: Final = 256
_LEAST: Final = 64
_UNREAD_MS: Final = 30_000
_OPEN_FILES: Final = Path("/proc/self/fd")


def most_connections() -> int:
    """Return the number of connections that a worker keeps open; the next ones wait until others are closed.

    It is below the limit of open files, because without a free one the spool could not be written.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft == resource.RLIM_INFINITY else max(_LEAST, min(_MOST, soft - _OWN_FILES))


def give_up_unread(port: int) -> int:
    """End connections at this port whose caller takes nothing of a response for 30 s; return how many sockets listen.

    The kernel does that (TCP_USER_TIMEOUT): connections inherit it from the socket that listens. It is found among the
    open files, because the web server does not give it. On systems without either, nothing is done.
    """
    if not hasattr(socket, "TCP_USER_TIMEOUT") or not _OPEN_FILES.exists():
        return 0
    found = 0
    for name in os.listdir(_OPEN_FILES):
        with contextlib.suppress(OSError):  # it was closed meanwhile
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                found += _limited(int(name), port)
    return found


def _limited(descriptor: int, port: int) -> bool:
    with socket.socket(fileno=os.dup(descriptor)) as opened:
        if opened.family not in (socket.AF_INET, socket.AF_INET6) or opened.getsockname()[1] != port:
            return False
        if not opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return False
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_MS)
        return True
