"""Instance id of a process: its unique name in Kafka's groups and transactions."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from runtime.exits import TRY_AGAIN

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
# StatefulSets name pods with a dash before the number. Without the dash, a container's hex name could match too.
_ORDINAL: Final = re.compile(r".*-(\d{1,9})", re.DOTALL)


class InvalidInstance(ValueError):  # noqa: N818
    """The value of --instance is not a valid name; the message gives the allowed characters."""


class StateUnwritable(Exception):  # noqa: N818
    """The state folder cannot be written; the message names the path and the solution. A restart may help."""

    exit_code = TRY_AGAIN


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn errors of the disk into one-line messages.

    Raises
    ------
    StateUnwritable
    """
    try:
        yield
    except OSError as error:
        said = f"{error.filename or folder} cannot be written: {error.strerror or error}"
        raise StateUnwritable(f"{said}. Free space on that disk, or make it writable (MILLSTREAM_HOME)") from error


class InstanceTaken(Exception):  # noqa: N818
    """Another process on this machine works under this name; the message has its process id."""

    exit_code = TRY_AGAIN


def resolve(role: str, given: str | None, state: Path, hostname: str | None = None) -> str:
    """Return this process's instance: as given, else the hostname's ordinal, else one kept in `state`.

    >>> resolve("predictor", None, Path("/unused"), hostname="predictor-3")
    '3'

    Raises
    ------
    InvalidInstance
        If the given one has other characters than a-z, 0-9 and '-'.
    """
    if given is not None:
        if not _NAME.fullmatch(given):
            raise InvalidInstance(f"--instance {given!r} must be 1 to 31 of a-z, 0-9 and '-', not beginning with '-'")
        return given
    match = _ORDINAL.fullmatch(socket.gethostname() if hostname is None else hostname)
    if match is not None:
        return str(int(match[1]))
    return _kept(state / f"{role}.instance")


def _kept(path: Path) -> str:
    """Return the name in the file; the first process generates one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x") as file:
            file.write(secrets.token_hex(4))
    except FileExistsError:
        pass
    name = path.read_text().strip()
    if not _NAME.fullmatch(name):
        raise InvalidInstance(f"{path} holds {name!r}, which is no instance name: delete the file")
    return name


class Held(Exception):  # noqa: N818
    """Another process holds the lock."""

    def __init__(self, process: str) -> None:
        super().__init__(process)
        self.process = process


@dataclass
class Claim:
    """An instance name held by this process on this machine until it ends or releases it."""

    role: str
    instance: str
    _descriptor: int

    def release(self) -> None:
        """Release the name; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def claim(role: str, given: str | None, state: Path) -> Claim:
    """Resolve the instance and take it.

    Raises
    ------
    InstanceTaken
        If another process on this machine has it.
    InvalidInstance
        See `resolve`.
    StateUnwritable
        If the state folder cannot be written.
    """
    try:
        with writing(state):
            instance = resolve(role, given, state)
            state.mkdir(parents=True, exist_ok=True)
            return Claim(role, instance, hold(state / f"{role}-{instance}.lock"))
    except Held as error:
        raise InstanceTaken(
            f"another {role} with instance {instance} runs on this machine (process {error.process}): "
            "stop it, or give this one another --instance"
        ) from None


def hold(file: Path) -> int:
    """Lock a file for as long as the returned descriptor is open, and write this process's id into it.

    Raises
    ------
    Held
        If another process has it.
    """
    # The kernel releases the lock however the process ends; a file with a pid in it would stay.
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        if not file.exists():
            raise
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)  # a file on a read-only disk can still be locked
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        other = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise Held(other) from None
    with suppress(OSError):  # on a full disk the lock still holds; only the owner's id is missing
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor
