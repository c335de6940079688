"""Observation of the broker's process from outside: is it alive, does it answer, why did it end."""

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
    """Return whether a Kafka answers on this port of the loopback address and has an active broker.

    The request asks for the cluster's metadata (version 4, no topics). A broker that has not caught up yet is missing
    from the answer's brokers, and would refuse to create topics.
    """
    request = struct.pack(">hhihi?", 3, 4, 1, -1, 0, False)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            answer = connection.recv(4096)
    except OSError:
        return False
    # The answer begins with size, correlation id, throttle time and number of brokers.
    return len(answer) >= 16 and struct.unpack_from(">i", answer, 4) == (1,) and answer[12:16] != bytes(4)


def reason_in(log: str) -> str:
    """Return in one clause why Kafka did not start, and the solution if it is known.

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
    """Return the end of a file; empty if there is no such file."""
    try:
        with file.open("rb") as opened:
            opened.seek(max(0, file.stat().st_size - 50_000))
            return opened.read().decode("utf-8", "replace")
    except OSError:
        return ""


def alive(process: psutil.Process) -> bool:
    """Return whether any part of the process is left: a zombie with live threads still holds its port and locks."""
    try:
        return bool(process.is_running() and (process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1))
    except psutil.NoSuchProcess:
        return False


def await_end(process: psutil.Process, timeout: float) -> None:
    """Wait until nothing of the process is left; psutil's own wait treats a zombie as ended.

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
    """Return the size of a folder's files on the disk; 0 if there is no such folder."""
    total = 0
    # os.walk ignores folders that disappear meanwhile, such as those of deleted topics.
    for where, _, files in os.walk(folder):
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                # Kafka's index files are sparse files of 10 MB, so only allocated blocks count.
                total += Path(where, file).stat().st_blocks * 512
    return total


def listener_on(port: int) -> str:
    """Return the process that listens on a port, as far as this user may see it."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.pid is not None:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return "another program"
