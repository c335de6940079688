"""Named places at which a process can be made to fail, for fault tests.

`MILLSTREAM_FAILPOINTS` arms them. It is read when this module is first imported, and in a role that is forked. If it
is unset, a failpoint does nothing::

    MILLSTREAM_FAILPOINTS="store.rename.before=kill@3;store.write.before=ENOSPC@1-5"

Each item is ``PLACE=ACTION[@CALLS]``. An action is ``kill`` (SIGKILL to itself), ``stop`` (SIGSTOP to itself),
``hang`` (never returns), or the name of an error number, which is raised as an `OSError`. Calls are counted from
1 at each place of each process: ``3``, ``3-5`` or ``3-``; without a count, every call fails.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

VARIABLE: Final = "MILLSTREAM_FAILPOINTS"
PLACES: Final = (
    # A file of the model store: temporary file, sync, link to its name. The manifest is the last file of a version.
    "store.write.before",
    "store.write.after",
    "store.fsync.after",
    "store.rename.after",
    "store.manifest.before",
    "store.manifest.after",
    # The learner announces a version.
    "learner.announce.before",
    # Any role's transaction: its records, its offsets, its end.
    "transaction.send.before",
    "transaction.send.after",
    "transaction.offsets.before",
    "transaction.offsets.after",
    "transaction.commit.before",
    "transaction.commit.after",
    # The joiner's local store, after the transaction.
    "local-store.commit.before",
    "local-store.commit.after",
    # An HTTP server's spool: the entries of one turn, their sync, a new segment, the index of remembered ids.
    "spool.write.before",
    "spool.write.after",
    "spool.fsync.before",
    "spool.fsync.after",
    "spool.rotate.before",
    "spool.rotate.after",
    "spool.index.before",
    "spool.index.after",
    # The forwarder's note of its place, before and after the transaction, and the deletion of a segment.
    "forwarder.note.before",
    "forwarder.note.after",
    "forwarder.delete.before",
    # A piece of an upload; a whole one is handed to the importer; that commits its end, and writes its result.
    "upload.write.before",
    "upload.write.after",
    "upload.complete.before",
    "upload.complete.after",
    "importer.end.before",
    "importer.result.before",
    "importer.result.after",
    # A person's decision: after the history has it, and after it is in force.
    "decision.models.before",
    "decision.models.after",
    # The notifier has delivered an alert, which is not committed yet.
    "notifier.delivered",
    # The process that trains has read the log, made a trial, searched, fitted, saved and tested.
    "training.read",
    "training.tried",
    "training.searched",
    "training.fitted",
    "training.saved",
    "training.tested",
    # The trainer has put a version into the store, and not announced it.
    "trainer.stored",
)
_ITEM: Final = re.compile(r"(?P<place>[a-z.-]+)=(?P<action>\w+)(?:@(?P<first>\d+)(?P<more>-(?P<last>\d*))?)?")
_SIGNALS: Final = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
_EVER: Final = sys.maxsize


class InvalidFailpoints(ValueError):  # noqa: N818
    """`MILLSTREAM_FAILPOINTS` names an unknown place or action, so the fault would never happen."""


@dataclass
class _Armed:
    """Action at a place, from the first to the last of these calls."""

    place: str
    action: str
    first: int
    last: int
    calls: int = 0

    def __call__(self) -> None:
        self.calls += 1
        if not self.first <= self.calls <= self.last:
            return
        print(f"failpoint {self.place}: {self.action} at call {self.calls}", file=sys.stderr, flush=True)
        if self.action in _SIGNALS:
            os.kill(os.getpid(), _SIGNALS[self.action])
        elif self.action == "hang":
            threading.Event().wait()
        else:
            number: int = getattr(errno, self.action)
            raise OSError(number, os.strerror(number))


def parse(text: str) -> dict[str, Callable[[], None]]:
    """Return the armed actions by place.

    >>> sorted(parse("store.rename.after=kill@3; store.write.before=ENOSPC"))
    ['store.rename.after', 'store.write.before']

    Raises
    ------
    InvalidFailpoints
        If an item is not ``PLACE=ACTION[@CALLS]``, or names an unknown place or action.
    """
    armed: dict[str, Callable[[], None]] = {}
    for item in filter(None, (each.strip() for each in text.split(";"))):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise InvalidFailpoints(f"{VARIABLE}: {item!r} is not PLACE=ACTION[@CALLS]")
        place, action = match["place"], match["action"]
        if place not in PLACES:
            raise InvalidFailpoints(f"{VARIABLE}: there is no place {place!r}; there are {', '.join(PLACES)}")
        if action not in (*_SIGNALS, "hang") and not hasattr(errno, action):
            raise InvalidFailpoints(f"{VARIABLE}: {action!r} is not kill, stop, hang or an error number's name")
        first = int(match["first"] or 1)
        last = int(match["last"] or _EVER) if match["more"] else first if match["first"] else _EVER
        armed[place] = _Armed(place, action, first, last)
    return armed


_armed: dict[str, Callable[[], None]] = {}


def arm(environ: Mapping[str, str] = os.environ) -> None:
    """Arm exactly what the variable says and count calls from now on. Raises InvalidFailpoints."""
    armed = parse(environ.get(VARIABLE, ""))
    _armed.clear()
    _armed.update(armed)


def failpoint(place: str) -> Callable[[], None]:
    """Return the function to call at `place`, one of `PLACES`. Call this once, at import."""
    assert place in PLACES, place  # noqa: S101 - a mistake of the calling code, not of a user

    def reached() -> None:
        if _armed and place in _armed:
            _armed[place]()

    return reached


arm()
