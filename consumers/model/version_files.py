"""What a version is made from and where it stands, and what its files are called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from consumers.model.model_state import LearnerState
from model_store import Manifest, VersionId

NewEpoch = Literal["fresh", "replay", "keep"]
MODEL_FILE: Final = "model"
STATE_FILE: Final = "state"
EDITS_FILE: Final = "edits"
CODE_FILE: Final = "code"  # of the stream file and the modules beside it, as they were
REBUILD: Final = "rebuild"  # the reason of a version made anew
REBUILD_START: Final = "rebuild-start"  # of the first one of its epoch
PROBE: Final = "probe"
PROBED: Final = "probed"  # the hash of the exact answers to those events
OVERTAKES: Final = "overtakes"  # of a replay: the offset from which its versions are announced
LANES: Final = "lanes"
MODEL_BYTES: Final = "model_bytes"
_SHOWN: Final = 3


@dataclass(frozen=True)
class Definition:
    """What a version must have been made from, for a learner to go on with it.

    Attributes
    ----------
    model
        The model id; the stream's name.
    hash
        Of the model's definition; `contract`, of the contract and target.
    allowed
        What a pickle may name beside River: the user's own classes.
    find
        Looks up the names in `allowed`; without it they are imported.
    code
        The code object that versions carry; empty where they carry none.
    differs
        Returns, from the code object of another version, what differs in its definition: a short text a part.
    """

    model: str
    hash: str
    contract: str
    allowed: frozenset[tuple[str, str]] = frozenset()
    find: Callable[[str, str], Any] | None = None
    code: bytes = field(default=b"", repr=False)
    differs: Callable[[bytes], list[str]] | None = None


@dataclass(frozen=True)
class Log:
    """The examples log as it is now."""

    topic_id: str
    beginning: int
    end: int
    topic: str = "examples"


@dataclass(frozen=True)
class Standing:
    """Where a version stands: its epoch and what that goes on from, the log, and the next offset to read.

    Attributes
    ----------
    overtakes
        From this offset on the epoch's versions are newer than the one it goes on from; before, that one serves.
    """

    epoch: int
    offset: int
    log: Log
    parent: VersionId | None = None
    overtakes: int = 0

    @property
    def extra(self) -> dict[str, Any]:
        """What every version of the epoch keeps of it in its manifest."""
        return {OVERTAKES: self.overtakes} if self.overtakes else {}


@dataclass(frozen=True)
class Resumed:
    """Where a learner goes on.

    Attributes
    ----------
    offset
        The next one to read.
    manifest
        Of the version it is, `None` where there is none yet.
    parent
        Of a new epoch.
    note
        A line for people, or empty.
    overtakes
        See `Standing`.
    cut
        The log is another, or ends before where it was read: places in it are taken anew.
    """

    learning: LearnerState
    epoch: int
    offset: int
    manifest: Manifest | None
    parent: VersionId | None
    note: str = ""
    overtakes: int = 0
    cut: bool = False


def shown(differing: list[str]) -> str:
    """Return what differs for the end of a sentence: the first few parts in brackets; empty where nothing does."""
    if not differing:
        return ""
    more = f"; and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
    return f" ({'; '.join(differing[:_SHOWN])}{more})"
