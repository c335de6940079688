"""Since how many examples a model's answers to its probe events have stood still.

Each version carries the newest events that it has learned, and the hash of its exact answers to them. A later version
that answers these events with the same hash has learned examples that changed nothing.
"""

from __future__ import annotations

from typing import Final

from consumers.model.fingerprint import fingerprint
from consumers.model.model_state import LearnerState
from consumers.model.river_model import ModelError
from consumers.model.version_files import PROBE, PROBED
from model_store import Manifest

ANSWERS_SINCE: Final = "answers_since"
"""Entry of a manifest: number of examples of the first version whose answers stand since; that version's own number if
they have changed with it.
"""


class StandingAnswers:
    """Compares each version's answers with those of the version before it."""

    def __init__(self) -> None:
        self._last: Manifest | None = None

    def note(self, version: Manifest) -> None:
        """Take the version that the next one is compared with: written, or loaded to continue from."""
        self._last = version

    def since(self, learning: LearnerState, epoch: int) -> int:
        """Return the entry for the version of this epoch that is about to be written."""
        last = self._last
        if last is None or last.version.epoch != epoch or last.examples > learning.learned:
            return learning.learned
        probe = last.extra.get(PROBE, ())
        try:
            same = bool(probe) and fingerprint(learning.model, probe) == last.extra.get(PROBED)
        except ModelError:
            same = False  # whether the version may be written is decided by its own probe
        return answers_since(last) if same else learning.learned


def answers_since(version: Manifest) -> int:
    """Return a version's entry; its number of examples if it is older than these entries."""
    found: int = version.extra.get(ANSWERS_SINCE, version.examples)
    return found
