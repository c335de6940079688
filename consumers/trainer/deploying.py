"""Decision on a version that a job has trained: announced, promoted, or kept for a person to decide."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from consumers.trainer.rules import Deploy
from consumers.trainer.trainings import InForce, Trained
from runtime.kafka_client.records import Output
from schemas.model_names import name_of
from schemas.model_updates import Decision, ModelUpdate, Promoted
from schemas.topics import Names

_MOST_BYTES: Final = 700_000  # Kafka takes records of 1 MB
_LARGE_PARTS: Final = ("table", "comparison", "left_out", "parameters", "notes")


class Deployed(NamedTuple):
    """What is done with a version: the records to send, a line for the job's end, and whether it serves by that."""

    outputs: list[Output]
    text: str
    serves: bool = False


def deploy(names: Names, how: Deploy, trained: Trained, now: InForce, now_ms: int) -> Deployed:
    """Return what is done with a version, given which model serves."""
    published, stream, version = trained.published, names.stream, trained.version
    by_hand = f"`millstream models pin {stream} {version}` serves it"
    if now.model == published.model and not now.pinned:
        # Announced, it would serve at once.
        if not trained.better:
            said = "is not better" if trained.better is False else "could not be compared with what serves"
            return Deployed([], f"kept, not announced: it {said}, and its model serves; {by_hand}")
        return Deployed(_decided(names, now_ms, published), "its model serves, and it is better: it serves now", True)
    if how == "by-hand":
        return Deployed(_decided(names, now_ms, published), f"announced: {by_hand}")
    if how == "if-better" and trained.better and not now.pinned:
        promoted = Promoted(
            published.model, published.shard, now.follows, "rule", trained.why, now.model, dict(trained.evidence)
        )
        text = f"it is better, and serves instead of {name_of(now.model)}"
        return Deployed(_decided(names, now_ms, published, promoted), text, True)
    text = "a challenger"
    if how == "if-better" and trained.better:
        text += f"; it is better, but a version is pinned: {by_hand}"
    elif how == "if-better":
        text += ": it is not better" if trained.better is False else ": it could not be compared with what serves"
    return Deployed(_decided(names, now_ms, published), text)


def end_detail(trained: Trained, deployed: Deployed) -> dict[str, Any]:
    """Return what the record of a job's end says; parts that would make it too large are only in the manifest."""
    told = {"version": trained.version, "why": trained.why, "deployed": deployed.text}
    detail = {**trained.detail, **told}
    for part in _LARGE_PARTS:
        if len(msgspec.json.encode(detail)) <= _MOST_BYTES:
            break
        detail[part] = f"too large: `millstream models show STREAM {trained.version}` has it"
    return detail


def _decided(names: Names, now_ms: int, *decisions: Decision) -> list[Output]:
    """Return the records of decisions: each on the history first, as with a person's."""
    outputs = []
    for each in decisions:
        key, value = each.key.encode(), ModelUpdate(now_ms, each).encode()
        outputs += [Output(names.topic(kind), 0, key, value) for kind in ("decisions", "models")]
    return outputs
