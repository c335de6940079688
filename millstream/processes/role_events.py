"""Events that a supervised role sends to its supervisor: small messages on a separate descriptor.

A role's printed output is for people, and a model may print anything, so the supervisor never decides by it. A message
contains the line that is printed for the same event. During a broker outage, which the supervisor reports itself, it
leaves that line out.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

from millstream.observability import role_log

VARIABLE: Final = "MILLSTREAM_ROLE_EVENTS"
"""Environment variable with the number of the descriptor to which a supervised process writes its events."""
_CHUNK: Final = 1 << 16


class RoleEvent(msgspec.Struct, frozen=True):
    """One event.

    Attributes
    ----------
    kind
        ``ready``: the role has its partitions. ``failed``: it ends. ``cannot-follow``: its thread cannot read the
        decisions on models, and tries again.
    line
        The line printed for it.
    """

    kind: Literal["ready", "failed", "cannot-follow"]
    line: str


_read: Final = msgspec.json.Decoder(RoleEvent).decode


class _Channel:
    """The process's end of the events channel; closed if the process has no supervisor."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._lock = threading.Lock()

    def open(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._descriptor = descriptor

    def send(self, event: RoleEvent) -> None:
        if self._descriptor is None:
            return
        data = memoryview(msgspec.json.encode(event) + b"\n")
        with self._lock, contextlib.suppress(OSError):  # the supervisor has ended, which this process learns otherwise
            while data:
                data = data[os.write(self._descriptor, data) :]


_CHANNEL: Final = _Channel()


def begin() -> None:
    """Send events from now on, if a supervisor has asked for them; child processes of this one send none."""
    descriptor = os.environ.pop(VARIABLE, "")
    if descriptor.isdecimal():
        with contextlib.suppress(
            OSError, OverflowError
        ):  # no descriptor of this process: the variable was meant for another process
            _CHANNEL.open(int(descriptor))


def ready(line: str, **fields: Any) -> None:
    """Report that the role has its partitions."""
    _CHANNEL.send(RoleEvent("ready", line))
    role_log.say(line, **fields)


def failed(role: str, why: str) -> None:
    """Report why a role ends."""
    line = f"{role}: {why}"
    _CHANNEL.send(RoleEvent("failed", line))
    role_log.fail(line, event="failed")


def cannot_follow(line: str) -> None:
    """Report that decisions on models cannot be read for now."""
    _CHANNEL.send(RoleEvent("cannot-follow", line))
    role_log.say(line)


def variables(descriptor: int) -> Mapping[str, str]:
    """Return the environment variables of a child that must write its events to this descriptor."""
    return {VARIABLE: str(descriptor)}


def follow(output: int, events: int) -> Iterator[RoleEvent | str]:
    """Yield a child's events and the lines that it prints, until its output ends.

    An event comes before the lines printed after it.
    """
    os.set_blocking(events, False)
    printed = told = b""
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        selector.register(events, selectors.EVENT_READ)
        open_ = True
        while open_:
            ready = {key.fd for key, _ in selector.select()}
            chunk = os.read(output, _CHUNK) if output in ready else None
            # Read only now: the events sent before these lines have arrived.
            more, ended = _waiting(events)
            if ended and events in selector.get_map():
                selector.unregister(events)
            *whole, told = (told + more).split(b"\n")
            yield from _events(whole)
            open_ = chunk != b""
            *lines, printed = (printed + (chunk or b"")).split(b"\n")
            yield from (line.decode(errors="replace").rstrip() for line in lines)
    if printed:
        yield printed.decode(errors="replace").rstrip()


def _waiting(descriptor: int) -> tuple[bytes, bool]:
    """Return the bytes that can be read without waiting, and whether the channel has ended."""
    found = b""
    while True:
        try:
            chunk = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return found, False
        if not chunk:
            return found, True
        found += chunk


def _events(lines: list[bytes]) -> Iterator[RoleEvent]:
    for line in lines:
        with contextlib.suppress(msgspec.DecodeError):  # an event of a newer release
            yield _read(line)
