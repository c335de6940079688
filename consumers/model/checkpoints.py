"""When a checkpoint is due, and how a version is written and read."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from consumers.model.fingerprint import fingerprint
from consumers.model.model_size import Growth, Size
from consumers.model.model_state import READABLE, LearnerState, LearningRules
from consumers.model.resume import Resumption
from consumers.model.version_files import (
    CODE_FILE,
    EDITS_FILE,
    LANES,
    MODEL_BYTES,
    MODEL_FILE,
    PROBE,
    PROBED,
    REBUILD,
    REBUILD_START,
    STATE_FILE,
    Definition,
    Log,
    NewEpoch,
    Resumed,
    Standing,
)
from model_store import (
    Blob,
    Draft,
    Manifest,
    ModelStore,
    Retention,
    VersionExists,
    VersionId,
    VersionRefused,
    dump,
    dumps,
    loads,
)
from runtime.exits import Doubt, RoleRefused

__all__ = [
    "CODE_FILE",
    "EDITS_FILE",
    "LANES",
    "MODEL_BYTES",
    "MODEL_FILE",
    "PROBE",
    "PROBED",
    "REBUILD",
    "REBUILD_START",
    "STATE_FILE",
    "CheckpointPace",
    "Definition",
    "LearnerCheckpoints",
    "Log",
    "NewEpoch",
    "Resumed",
    "Standing",
    "cpu_name",
]

_LARGEST_SHARE: Final = 0.05  # of the learner's time that checkpoints may take
_PROBE_EVENTS: Final = 8
_PROBE_BYTES: Final = 16_384


@dataclass(frozen=True)
class CheckpointPace:
    """When checkpoints are due.

    Attributes
    ----------
    every
        Seconds.
    examples
        Newly learned.
    """

    every: float
    examples: int

    def due(self, since_last: float, last_cost: float, learned: int) -> bool:
        """Decide, given seconds since the last checkpoint began, its seconds, and what was learned since.

        >>> CheckpointPace(every=0.5, examples=1000).due(since_last=0.6, last_cost=0.01, learned=1)
        True
        >>> CheckpointPace(every=0.5, examples=1000).due(since_last=0.6, last_cost=0.10, learned=1)
        False
        """
        if learned == 0 or not self.affords(since_last, last_cost):
            return False
        return learned >= self.examples or since_last >= self.every

    def affords(self, since_last: float, last_cost: float) -> bool:
        """Tell whether another one now leaves the learner its time."""
        return since_last >= last_cost / _LARGEST_SHARE


@cache
def cpu_name() -> str:
    """Return what this machine computes with: full-precision answers are equal only on the same."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


class LearnerCheckpoints:
    """A learner's side of the model store."""

    def __init__(
        self,
        store: ModelStore,
        definition: Definition,
        rules: LearningRules,
        retention: Retention,
        shard: int = 0,
        max_model_bytes: int | None = None,
    ) -> None:
        self._store = store
        self._definition = definition
        self._rules = rules
        self._retention = retention
        self._shard = shard
        self.growth = Growth(max_model_bytes)
        self._resumption = Resumption(store, definition, rules, self.growth, self.load)
        self.overtaken = self._resumption.overtaken
        self.next_epoch = self._resumption.next_epoch

    # --- writing -----------------------------------------------------------------------------------

    def write(
        self,
        learning: LearnerState,
        stands: Standing,
        reason: str,
        now_ms: int,
        edits: bytes | None = None,
        *,
        extra: Mapping[str, Any] = MappingProxyType({}),
    ) -> Manifest:
        """Publish the model as it is now, or adopt the version if exactly this one is there.

        Parameters
        ----------
        edits
            Only with the first version of an epoch that was made anew: see `consumers.model.log_edits`.
        extra
            Goes into the manifest beside what is always there.

        Raises
        ------
        Refused
            Where another version has this name.
        StoreUnavailable
            Where the store cannot take it; nothing half-written is visible.
        """
        model, state = dump(learning.model.model), dump(learning.dump())
        self.growth.note(Size(learning.learned, now_ms, model.size))
        sizes = {MODEL_BYTES: model.size, "state_bytes": state.size, "growth": self.growth.report()}
        more = {**sizes, **stands.extra, **extra}
        files: dict[str, bytes | Blob] = {MODEL_FILE: model, STATE_FILE: state}
        if self._definition.code:
            files[CODE_FILE] = self._definition.code
        if edits is not None:
            files[EDITS_FILE] = edits
        draft = self._draft(learning, stands, reason, now_ms, more)
        try:
            written = self._store.publish(draft, files)
        except VersionExists as error:
            there = error.manifest
            same = (there.chain, there.fingerprint) == (draft.chain, draft.fingerprint)
            if not same and (there.topic_id, there.definition) == (stands.log.topic_id, draft.definition):
                # As many examples learned, but more or fewer passed over: the other's place is as good as ours.
                raise Doubt(f"version {draft.version} was written by another learner of this log meanwhile") from error
            if not same:
                raise RoleRefused(
                    f"version {draft.version} is in the store already and is another one: a learner with "
                    "another log or another model writes here too. Nothing was overwritten"
                ) from error
            written = there
        learning.settled()
        return written

    def _probed(self, learning: LearnerState) -> dict[str, Any]:
        """Return what a predictor tries before it serves the version, and the hash of its answers."""
        # A manifest sorts names, and sums over features in another order differ in the last bit.
        probe = [dict(sorted(each.items())) for each in learning.probes.newest(_PROBE_EVENTS, _PROBE_BYTES)]
        return {PROBE: probe, PROBED: fingerprint(learning.model, probe)}

    def _draft(
        self,
        learning: LearnerState,
        stands: Standing,
        reason: str,
        now_ms: int,
        more: dict[str, Any],
    ) -> Draft:
        return Draft(
            version=VersionId(self._definition.model, stands.epoch, learning.learned),
            parent=stands.parent,
            shard=self._shard,
            topic_id=stands.log.topic_id,
            offset=stands.offset,
            examples=learning.learned,
            chain=learning.chain.hex(),
            fingerprint=learning.fingerprint(),
            definition=self._definition.hash,
            contract=self._definition.contract,
            created_at_ms=now_ms,
            metrics=learning.board.report(),
            skipped=learning.skipped.runs(),
            labels_from_ms=learning.labels_from,
            labels_to_ms=learning.labels_to,
            reason=reason,
            cpu=cpu_name(),
            extra={
                "counts": dict(learning.counts),
                **more,
                LANES: learning.lanes.places(),
                **self._probed(learning),
            },
        )

    def prune(self, keep: set[VersionId]) -> None:
        """Delete old versions as the retention says; never what is pinned or in `keep`."""
        self._store.prune(self._definition.model, self._retention, keep)

    def sha256(self, manifest: Manifest) -> str:
        """Return the hash an announcement carries."""
        return self._store.manifest_sha256(manifest.version)

    # --- reading -----------------------------------------------------------------------------------

    def resume(
        self,
        log: Log,
        new_epoch: NewEpoch | None,
        say: Callable[[str], None],
        adopted: VersionId | None = None,
    ) -> Resumed:
        """Return where to go on: see `Resumption.resume`."""
        return self._resumption.resume(log, new_epoch, say, adopted)

    def fresh(self) -> LearnerState:
        """Return a learner that has learned nothing, with a model from the stream file."""
        return LearnerState(self._rules)

    def freeze(self, learning: LearnerState) -> tuple[bytes, bytes]:
        """Return model and state as the store keeps them."""
        return dumps(learning.model.model), dumps(learning.dump())

    def thaw(self, frozen: tuple[bytes, bytes]) -> LearnerState:
        """Return what `freeze` was given, in this process only: nothing is checked but what may be named."""
        definition = self._definition
        model, state = (loads(each, extra=definition.allowed, find=definition.find) for each in frozen)
        learning = LearnerState(self._rules, model)
        learning.restore(state)
        return learning

    def load(self, manifest: Manifest) -> LearnerState:
        """Return a version as the learner that it was, after all checks."""
        allowed, find = self._definition.allowed, self._definition.find
        try:
            model = self._store.load(manifest, MODEL_FILE, extra_allowed=allowed, find=find)
            state: Any = self._store.load(manifest, STATE_FILE, extra_allowed=allowed, find=find)
        except VersionRefused as error:
            raise RoleRefused(str(error)) from error
        if not isinstance(state, dict) or state.get("format") not in READABLE:
            raise RoleRefused(f"version {manifest.version} has a learner's state of another format. {_REPLAY}")
        learning = LearnerState(self._rules, model)
        learning.restore(state)
        if learning.fingerprint() != manifest.fingerprint and manifest.cpu == cpu_name():
            # Another CPU may differ in the last bit; the same one may not.
            raise RoleRefused(f"version {manifest.version} does not answer as it did when it was written. {_REPLAY}")
        return learning

    def copy(self, learning: LearnerState) -> LearnerState:
        """Return a learner's whole state as an object of its own, as it would be saved and loaded."""
        copied = self.thaw(self.freeze(learning))
        copied.labels_from, copied.labels_to = learning.labels_from, learning.labels_to
        return copied


_REPLAY: Final = "Start the learner once with --new-epoch replay to rebuild it from the log"
