"""What a supervised role tells its supervisor: small messages on a descriptor of their own.

What a role prints is for people, and a model may print there whatever it likes: no supervisor decides by that. A
message names the line that people are shown of the same event: while Kafka is away, which the supervisor says itself,
it leaves that line out.
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
"""The descriptor that a supervised process tells its events on, by its number."""
_CHUNK: Final = 1 << 16


class RoleEvent(msgspec.Struct, frozen=True):
    """One event.

    Attributes
    ----------
    kind
        ``ready``: the role has its partitions. ``failed``: it ends. ``cannot-follow``: its thread that reads decisions
        on models cannot, and tries again.
    line
        What people are shown of it.
    """

    kind: Literal["ready", "failed", "cannot-follow"]
    line: str


_read: Final = msgspec.json.Decoder(RoleEvent).decode


class _Channel:
    """The end that a process tells its events on; closed where nobody supervises it."""

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
        with self._lock, contextlib.suppress(OSError):  # the supervisor is gone, and this process is told so otherwise
            while data:
                data = data[os.write(self._descriptor, data) :]


_CHANNEL: Final = _Channel()


def begin() -> None:
    """Tell events from now on, if a supervisor has asked for them; processes that this one starts do not."""
    descriptor = os.environ.pop(VARIABLE, "")
    if descriptor.isdecimal():
        with contextlib.suppress(
            OSError, OverflowError
        ):  # no descriptor of this process: the variable was somebody else's
            _CHANNEL.open(int(descriptor))


def ready(line: str, **fields: Any) -> None:
    """Say that the role has its partitions."""
    _CHANNEL.send(RoleEvent("ready", line))
    role_log.say(line, **fields)


def failed(role: str, why: str) -> None:
    """Say why a role ends."""
    line = f"{role}: {why}"
    _CHANNEL.send(RoleEvent("failed", line))
    role_log.fail(line, event="failed")


def cannot_follow(line: str) -> None:
    """Say that decisions on models cannot be read for now."""
    _CHANNEL.send(RoleEvent("cannot-follow", line))
    role_log.say(line)


def variables(descriptor: int) -> Mapping[str, str]:
    """Return what a child finds in its environment that is to tell its events on this descriptor."""
    return {VARIABLE: str(descriptor)}


def follow(output: int, events: int) -> Iterator[RoleEvent | str]:
    """Yield a child's events and the lines that it prints, until its output ends.

    An event comes before whatever was printed after it.
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
            # Only now: what was told before that was printed is there.
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
    """Return what can be read at once, and whether no more will come."""
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
        with contextlib.suppress(msgspec.DecodeError):  # of a newer version
            yield _read(line)
