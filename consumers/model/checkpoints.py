"""Checkpoints: the rule when one is due, and writing and reading a version."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from consumers.model.fingerprint import fingerprint
from consumers.model.model_size import Growth, Size
from consumers.model.model_state import READABLE, LearnerState, LearningRules
from consumers.model.resume import Resumption
from consumers.model.standing_answers import ANSWERS_SINCE, StandingAnswers
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
    "Definition",
    "LearnerCheckpoints",
    "Log",
    "NewEpoch",
    "Resumed",
    "Standing",
    "cpu_name",
]

_PROBE_EVENTS: Final = 8
_PROBE_BYTES: Final = 16_384


@cache
def cpu_name() -> str:
    """Return the CPU's name: full-precision answers are equal only on the same CPU."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


class LearnerCheckpoints:
    """Writes and reads a learner's versions in the model store."""

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
        self._standing = StandingAnswers()
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
        """Publish the current model as a version, or take the existing version if it is exactly this one.

        Parameters
        ----------
        edits
            Given only with the first version of a rebuilt epoch: see `consumers.model.log_edits`.
        extra
            Additional entries of the manifest.

        Raises
        ------
        RoleRefused
            If another version has this name.
        StoreUnavailable
            If the store cannot take it; nothing half-written is visible.
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
                # The other learner has learned as many examples and only passed over more or fewer: its version is as
                # good.
                raise Doubt(f"version {draft.version} was written by another learner of this log meanwhile") from error
            if not same:
                raise RoleRefused(
                    f"version {draft.version} is in the store already and is another one: a learner with "
                    "another log or another model writes here too. Nothing was overwritten"
                ) from error
            written = there
        learning.settled()
        self._standing.note(written)
        return written

    def _probed(self, learning: LearnerState) -> dict[str, Any]:
        """Return the probe events that a predictor tries before it serves the version, and the hash of the answers."""
        # A manifest sorts names, and a sum over features in another order differs in the last bit.
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
                ANSWERS_SINCE: self._standing.since(learning, stands.epoch),
            },
        )

    def prune(self, keep: set[VersionId]) -> None:
        """Delete old versions by the retention rule, but never a pinned one or one in `keep`."""
        self._store.prune(self._definition.model, self._retention, keep)

    def sha256(self, manifest: Manifest) -> str:
        """Return the hash of a manifest for its announcement."""
        return self._store.manifest_sha256(manifest.version)

    # --- reading -----------------------------------------------------------------------------------

    def resume(
        self,
        log: Log,
        new_epoch: NewEpoch | None,
        say: Callable[[str], None],
        adopted: VersionId | None = None,
    ) -> Resumed:
        """Return the version and offset to continue from: see `Resumption.resume`."""
        return self._resumption.resume(log, new_epoch, say, adopted)

    def fresh(self) -> LearnerState:
        """Return a learner that has learned nothing, with a model from the stream file."""
        return LearnerState(self._rules)

    def freeze(self, learning: LearnerState) -> tuple[bytes, bytes]:
        """Return model and state in the store's byte format."""
        return dumps(learning.model.model), dumps(learning.dump())

    def thaw(self, frozen: tuple[bytes, bytes]) -> LearnerState:
        """Return the learner that `freeze` was given. For this process only: just the allow list is checked."""
        definition = self._definition
        model, state = (loads(each, extra=definition.allowed, find=definition.find) for each in frozen)
        learning = LearnerState(self._rules, model)
        learning.restore(state)
        return learning

    def load(self, manifest: Manifest) -> LearnerState:
        """Return the learner that a version holds, after all checks."""
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
            # Answers may differ in the last bit on another CPU, but not on the same one.
            raise RoleRefused(f"version {manifest.version} does not answer as it did when it was written. {_REPLAY}")
        self._standing.note(manifest)
        return learning

    def copy(self, learning: LearnerState) -> LearnerState:
        """Return a copy of a learner's whole state, made by saving and loading it."""
        copied = self.thaw(self.freeze(learning))
        copied.labels_from, copied.labels_to = learning.labels_from, learning.labels_to
        return copied


_REPLAY: Final = "Start the learner once with --new-epoch replay to rebuild it from the log"
