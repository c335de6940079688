"""Definition, position and file names of a version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from consumers.model.model_state import LearnerState
from model_store import Manifest, VersionId

NewEpoch = Literal["fresh", "replay", "keep"]
MODEL_FILE: Final = "model"
STATE_FILE: Final = "state"
ESTIMATOR_FILE: Final = "estimator"  # in place of a model: an estimator of scikit-learn, as skops writes it
GRAPH_FILE: Final = "graph"  # the estimator as ONNX, which then answers in its place
FORM: Final = "form"  # in the manifest of an estimator, the form of its rows
EDITS_FILE: Final = "edits"
CODE_FILE: Final = "code"  # the stream file and the modules beside it, at that time
REBUILD: Final = "rebuild"  # the reason of a rebuilt version
REBUILD_START: Final = "rebuild-start"  # the reason of the first version of a rebuilt epoch
PROBE: Final = "probe"
PROBED: Final = "probed"  # the hash of the exact answers to those events
OVERTAKES: Final = "overtakes"  # in a replay, the offset from which its versions are announced
LANES: Final = "lanes"
MODEL_BYTES: Final = "model_bytes"
_SHOWN: Final = 3


@dataclass(frozen=True)
class Definition:
    """The definition that a version must have for a learner to continue with it.

    Attributes
    ----------
    model
        The model id; the stream's name.
    hash
        Hash of the model's definition; `contract` is the hash of the contract and target.
    allowed
        Names that a pickle may use beside River's: the user's own classes.
    find
        Looks up the names in `allowed`; if it is missing they are imported.
    code
        The code object that versions carry; empty if they carry none.
    differs
        Compares the definition with another version's code object; returns a short text for each difference.
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
    """The current examples log."""

    topic_id: str
    beginning: int
    end: int
    topic: str = "examples"


@dataclass(frozen=True)
class Standing:
    """Position of a version: its epoch and that epoch's parent, the log, and the next offset to read.

    Attributes
    ----------
    overtakes
        From this offset on the epoch's versions are announced. They then replace the one that the epoch continues from,
        which serves until then; a new named model then knows as much as the stream's other models did at its start.
    """

    epoch: int
    offset: int
    log: Log
    parent: VersionId | None = None
    overtakes: int = 0

    @property
    def extra(self) -> dict[str, Any]:
        """Return the entries that every version of the epoch keeps in its manifest."""
        return {OVERTAKES: self.overtakes} if self.overtakes else {}


@dataclass(frozen=True)
class Resumed:
    """The point from which a learner continues.

    Attributes
    ----------
    offset
        The next offset to read.
    manifest
        The manifest of the version, `None` if there is none yet.
    parent
        The version that a new epoch continues from.
    note
        A line to print for the operator, or empty.
    overtakes
        See `Standing`.
    cut
        The log is another one, or ends before the offset that was read, so offsets are determined again.
    """

    learning: LearnerState
    epoch: int
    offset: int
    manifest: Manifest | None
    parent: VersionId | None
    note: str = ""
    overtakes: int = 0
    cut: bool = False


def is_announced(manifest: Manifest) -> bool:
    """Return whether a learned version is past the offset from which versions of its epoch are announced.

    Manifests older than that entry count as announced.
    """
    return manifest.offset >= int(manifest.extra.get(OVERTAKES, 0))


def shown(differing: list[str]) -> str:
    """Return the first few differences in brackets, for the end of a sentence; empty if there are none."""
    if not differing:
        return ""
    more = f"; and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
    return f" ({'; '.join(differing[:_SHOWN])}{more})"
