"""What can be seen of the broker's process from outside: whether it lives, whether it answers, why it ended."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from pathlib import Path
from typing import Final

import psutil

POLL_SECONDS: Final = 0.02


def takes_requests(port: int) -> bool:
    """Say whether a Kafka answers on this port of the loopback address and has a broker that serves.

    It asks for the cluster's metadata (version 4, no topics): a broker that has not yet caught up is not among the
    brokers in the answer, and would refuse to create topics.
    """
    request = struct.pack(">hhihi?", 3, 4, 1, -1, 0, False)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            answer = connection.recv(4096)
    except OSError:
        return False
    # Size, correlation id, throttle time, then the number of brokers.
    return len(answer) >= 16 and struct.unpack_from(">i", answer, 4) == (1,) and answer[12:16] != bytes(4)


def reason_in(log: str) -> str:
    """Return in one clause why Kafka did not start, and the way out where it is known.

    >>> reason_in("... java.io.IOException: No space left on device ...")
    'the disk is full; make room, or set MILLSTREAM_HOME to another folder'
    """
    known = {
        "No space left on device": "the disk is full; make room, or set MILLSTREAM_HOME to another folder",
        "Address already in use": "another program took one of its ports just then; start it again",
        "Failed to acquire lock on file": "another Kafka uses its data; end that one",
        "UnsupportedClassVersionError": "this Java is too old; set JAVA_HOME to Java 17 or later",
        "Could not reserve enough space": "too little memory is free; it needs 512 MB",
        "insufficient memory": "too little memory is free; it needs 512 MB",
        "Permission denied": "it may not write to its folder",
    }
    for sign, reason in known.items():
        if sign in log:
            return reason
    said = [line for line in log.splitlines() if " ERROR " in line or " FATAL " in line or "Exception" in line]
    return f"it said “{said[-1].strip()[:300]}”" if said else "it did not say why"


def tail(file: Path) -> str:
    """Return the end of a file, or nothing where there is none."""
    try:
        with file.open("rb") as opened:
            opened.seek(max(0, file.stat().st_size - 50_000))
            return opened.read().decode("utf-8", "replace")
    except OSError:
        return ""


def alive(process: psutil.Process) -> bool:
    """Say whether any of the process is left; a zombie whose other threads still end holds its port and its locks."""
    try:
        return bool(process.is_running() and (process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1))
    except psutil.NoSuchProcess:
        return False


def await_end(process: psutil.Process, timeout: float) -> None:
    """Wait until nothing of the process is left; psutil's own wait takes a zombie for gone.

    Raises
    ------
    psutil.TimeoutExpired
        After `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while alive(process):
        if time.monotonic() > deadline:
            raise psutil.TimeoutExpired(timeout, process.pid)
        time.sleep(POLL_SECONDS)


def bytes_on_disk(folder: Path) -> int:
    """Return what the files of a folder take on the disk; 0 where there is no such folder."""
    total = 0
    # os.walk passes over folders that vanish meanwhile, as those of deleted topics do.
    for where, _, files in os.walk(folder):
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                # Kafka's indexes are 10 MB of nothing; only blocks count.
                total += Path(where, file).stat().st_blocks * 512
    return total


def listener_on(port: int) -> str:
    """Return who listens on a port, as far as this user may know."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.pid is not None:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return "another program"
