"""Version of a trained model: its files are read and tried here, then signed and stored."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from consumers.model.estimator_model import wrap_estimator
from consumers.model.graph_conversion import CannotConvert, wrap_graph
from consumers.model.river_model import ModelError
from consumers.model.row_form import RowForm
from consumers.model.version_files import (
    CODE_FILE,
    ESTIMATOR_FILE,
    FORM,
    GRAPH_FILE,
    MODEL_BYTES,
    PROBE,
    PROBED,
    Definition,
)
from consumers.model.version_runtime import try_out
from consumers.trainer.training_messages import ESTIMATOR, GRAPH, TrainingResult
from consumers.trainer.trainings import NoWork, Trained
from model_store import Draft, Manifest, ModelStore, StoreUnavailable, VersionId
from model_store.errors import StoreError
from model_store.estimators import loads_estimator
from model_store.manifest import VersionExists
from runtime.failpoints import failpoint
from runtime.plain_files import InvalidFile, read_plain_file
from schemas.jobs import Claim, Job
from schemas.model_names import version_text
from schemas.model_updates import Published
from schemas.target import Task

JOB: Final = "job"  # the reason of a version, and in its manifest the job's id
RANGE_BEGIN: Final = "range_begin"
PARAMETERS, SEARCH, SEED, THREADS = "parameters", "search", "seed", "threads"
TOLERANCE, ALONE, COMPARISON, REFIT = "tolerance", "alone", "comparison", "refit"
LEFT_OUT, NOTES = "left_out", "notes"
_stored: Final = failpoint("trainer.stored")
_MOST_BYTES: Final = 4 << 30
_MOST_WHY: Final = 500  # characters
_NOTHING_SERVED: Final = "nothing was served on the newest part, so it could not be compared"
_MOST_ANNOUNCED: Final = 100_000  # bytes; Kafka takes records of 1 MB


@dataclass(frozen=True)
class VersionMaker:
    """Makes versions of one batch model, and signs them.

    Attributes
    ----------
    clock
        Milliseconds since 1970.
    most_bytes
        Size limit of a file, packed and unpacked: more could not have been trained.
    """

    store: ModelStore
    definition: Definition
    task: Task
    clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    most_bytes: int = _MOST_BYTES

    def make(self, job: Job, claim: Claim, result: TrainingResult, folder: Path) -> Trained:
        """Return the version of a result, which is in the store then; what is there already must be equal.

        Raises
        ------
        NoWork
            If it cannot be a version, or another one has its name.
        StoreUnavailable, OSError
            If the store cannot take it now.
        """
        try:
            data = read_plain_file(folder / ESTIMATOR, self.most_bytes)
            graph = read_plain_file(folder / GRAPH, self.most_bytes) if os.path.lexists(folder / GRAPH) else None
        except InvalidFile as error:
            raise NoWork(f"the training has left no valid file: {error}") from error
        draft = self._draft(job, claim, result, len(data))
        try:
            self._try(data, graph, draft, result)
            files = {ESTIMATOR_FILE: data} | ({} if graph is None else {GRAPH_FILE: graph})
            if self.definition.code:
                files[CODE_FILE] = self.definition.code
            manifest = self._publish(draft, files)
        except StoreUnavailable:
            raise
        except (StoreError, ModelError, CannotConvert) as error:
            raise NoWork(str(error)) from error
        _stored()
        trained = self._trained(manifest, result)
        if len(msgspec.json.encode(trained.published)) > _MOST_ANNOUNCED:
            raise NoWork(f"version {trained.version} has too many metrics to be announced")
        return trained

    def _try(self, data: bytes, graph: bytes | None, draft: Draft, result: TrainingResult) -> None:
        """Read the estimator by the list of types, and insist on the answers that its maker has told."""
        estimator = loads_estimator(data, cap_bytes=self.most_bytes)
        form = RowForm.from_json(result.form)
        if graph is None:
            face = wrap_estimator(estimator, self.task, form)
        else:
            face = wrap_graph(graph, estimator, self.task, form)
        unstored = Manifest(**{name: getattr(draft, name) for name in Draft.__struct_fields__}, libraries={}, files={})
        try_out(face, unstored)

    def _publish(self, draft: Draft, files: dict[str, bytes]) -> Manifest:
        try:
            return self.store.publish(draft, files)
        except VersionExists as error:
            there = error.manifest
            same = ("chain", "fingerprint", "topic_id", "offset", "definition")
            if all(getattr(there, name) == getattr(draft, name) for name in same):
                return there  # of an attempt that ended before it was announced
            raise NoWork(
                f"version {draft.version} is in the store already, and is another one: nothing was overwritten"
            ) from error

    def _draft(self, job: Job, claim: Claim, result: TrainingResult, size: int) -> Draft:
        extra: dict[str, Any] = {
            JOB: job.id,
            FORM: result.form,
            PROBE: result.probe,
            PROBED: result.probed,
            MODEL_BYTES: size,
            RANGE_BEGIN: claim.begin,
            PARAMETERS: result.parameters,
            SEARCH: result.table,
            SEED: result.seed,
            THREADS: result.threads,
            TOLERANCE: result.tolerance,
            ALONE: result.alone,
            COMPARISON: result.comparison,
            REFIT: result.refit,
            LEFT_OUT: result.left_out,
            NOTES: result.notes,
        }
        return Draft(
            version=VersionId(self.definition.model, claim.epoch, result.examples),
            parent=VersionId.parse(claim.parent, self.definition.model) if claim.parent else None,
            topic_id=claim.topic_id,
            offset=claim.end,
            examples=result.examples,
            chain=result.chain,
            fingerprint=result.probed,
            definition=self.definition.hash,
            contract=self.definition.contract,
            created_at_ms=self.clock(),
            metrics={"tested": result.comparison.get("tested")},
            skipped=result.skipped,
            labels_from_ms=result.labels_from_ms,
            labels_to_ms=result.labels_to_ms,
            reason=JOB,
            cpu=result.cpu,
            extra=extra,
        )

    def _trained(self, manifest: Manifest, result: TrainingResult) -> Trained:
        version = manifest.version
        tested = _part(result.comparison, "tested", "metrics")
        published = Published(
            model=version.model,
            shard=0,
            epoch=version.epoch,
            examples=version.examples,
            topic_id=manifest.topic_id,
            offset=manifest.offset,
            manifest_sha256=self.store.manifest_sha256(version),
            labels_from=-1 if manifest.labels_from_ms is None else manifest.labels_from_ms,
            labels_to=-1 if manifest.labels_to_ms is None else manifest.labels_to_ms,
            metrics={name: float(value) for name, value in tested.items() if isinstance(value, (int, float))},
        )
        evidence = _evidence(result.comparison)
        detail = {
            "examples": result.examples,
            "left_out": result.left_out,
            "parameters": result.parameters,
            "table": result.table,
            "comparison": result.comparison,
            "better": result.better,
            "notes": result.notes,
        }
        text = version_text(version.model, version.epoch, version.examples)
        return Trained(text, published, result.better, evidence, verdict(result.comparison, evidence), detail)


def _part(comparison: dict[str, Any], *names: str) -> dict[str, Any]:
    found: Any = comparison
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _evidence(comparison: dict[str, Any]) -> dict[str, float]:
    """Return the figures of a comparison with what served that a decision rests on."""
    compared = _part(comparison, "compared")
    figures: dict[str, Any] = {
        name: _part(compared, "gain").get(part) for name, part in (("mean", "value"), ("low", "low"), ("high", "high"))
    }
    figures["labels"] = compared.get("events")
    if _count(comparison.get("asked_now")):
        figures["asked_now"] = comparison["asked_now"]
    figures["challenger_loss"] = _part(compared, "loss").get("value")
    figures["champion_loss"] = _part(compared, "served_loss").get("value")
    return {name: float(value) for name, value in figures.items() if isinstance(value, (int, float))}


def _count(told: Any) -> int:
    return told if isinstance(told, int) and told > 0 else 0


def verdict(comparison: dict[str, Any], evidence: dict[str, float]) -> str:
    """Return what a comparison with what serves says, in a sentence."""
    asked, seen = str(comparison.get("asked") or "")[:120], _count(comparison.get("seen"))
    if "mean" not in evidence:
        why_not = str(comparison.get("not_asked") or _NOTHING_SERVED)[:_MOST_WHY]
        return f"{asked}, which serves, has learned all {seen:,} newest examples: not compared" if seen else why_not
    by, labels = str(comparison.get("by", "loss"))[:60], int(evidence.get("labels", 0))
    now = _count(comparison.get("asked_now"))
    how = f" ({now:,} of which {asked} is asked about now)" if now else ""
    new, old = evidence.get("challenger_loss", 0), evidence.get("champion_loss", 0)
    why = f"its mean loss ({by}) on the newest {labels:,} events{how} is {new:.4g} instead of {old:.4g}"
    if "low" in evidence and "high" in evidence:
        why += f"; the difference is {evidence['low']:.4g} to {evidence['high']:.4g}"
    return why
