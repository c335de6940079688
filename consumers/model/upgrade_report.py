"""Report on the differences between a replayed model and the version that it replaces.

After an upgrade of River the old model cannot be loaded any more. Its metrics come from its manifest, and its answers
from the outcomes of the examples on the log.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

from consumers.model.evaluation import Beside
from consumers.model.model_state import LearnerState
from model_store import Manifest, libraries

UPGRADE: Final = "upgrade"  # the report's key in a manifest's extra
_WIDTH: Final = 12
_NEVER: Final = sys.maxsize


class Comparison:
    """Comparison of a replay, which continues from version `newest`, with the version `before` that it replaces.

    Both may be `None`.

    Attributes
    ----------
    until
        The offset of the examples log up to which `before` had learned.
    extra
        Manifest entries that later versions keep of the comparison.
    """

    def __init__(self, before: Manifest | None = None, newest: Manifest | None = None) -> None:
        self._before = before
        self.until = _NEVER if before is None else before.offset
        self.extra: dict[str, Any] = {}
        if newest is not None and UPGRADE in newest.extra:
            self.extra = {UPGRADE: newest.extra[UPGRADE]}

    def compare(self, learning: LearnerState) -> Iterator[str]:
        """Compare once, at `until`, and yield what people are told of it; nothing without a version `before`."""
        if self._before is None:
            return
        found = compare(self._before, learning)
        self.until, self.extra = _NEVER, {UPGRADE: found}
        yield from lines(found)


def compare(before: Manifest, learning: LearnerState) -> dict[str, Any]:
    """Return how the model differs from version `before`; both have read the log up to the same offset.

    The result is ready for JSON. ``progressive`` covers all examples: for each metric the old and the new value.
    ``newest`` covers the last `Stream.window` examples, if they were answered when they came: for each metric the value
    of the served answers and of the new model's answers just before it learned the example, and the distance between
    the answers.
    """
    now = learning.board.report().get("progressive", {}).get("all", {})
    then = before.metrics.get("progressive", {}).get("all", {})
    mine = libraries()
    return {
        "from": str(before.version),
        "libraries": {
            name: [made_with, mine.get(name)]
            for name, made_with in before.libraries.items()
            if mine.get(name) != made_with
        },
        "examples": [before.examples, learning.learned],
        "progressive": {name: [then.get(name), value] for name, value in now.items()},
        "newest": _newest(learning.board.beside_served()),
    }


def _newest(beside: Beside) -> dict[str, Any]:
    apart = [by for now, served in zip(beside.now, beside.served, strict=True) if (by := gap(now, served)) is not None]
    same = sum(now[0] == served[0] for now, served in zip(beside.now, beside.served, strict=True))
    return {
        "answers": len(beside.now),
        "metrics": {name: [beside.metrics_served.get(name), value] for name, value in beside.metrics_now.items()},
        "same": same,
        "apart_mean": sum(apart) / len(apart) if apart else None,
        "apart_most": max(apart, default=None),
    }


def gap(now: tuple[Any, Any], served: tuple[Any, Any]) -> float | None:
    """Return the distance of two answers (value, shares): the largest difference of shares, else that of values."""
    (value, shares), (value_served, shares_served) = now, served
    if isinstance(shares, dict) and isinstance(shares_served, dict):
        return max(
            (abs(shares.get(key, 0.0) - shares_served.get(key, 0.0)) for key in {*shares, *shares_served}), default=None
        )
    if isinstance(shares, (int, float)) and isinstance(shares_served, (int, float)):
        return abs(float(shares) - float(shares_served))
    if _is_number(value) and _is_number(value_served):
        return abs(float(value) - float(value_served))
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a comparison's report: a small table."""
    changed = ", ".join(f"{name} {old} → {new}" for name, (old, new) in found["libraries"].items())
    yield f"the replay has learned as much as version {found['from']}" + (f" ({changed})" if changed else "")
    old, new = found["examples"]
    yield _row("progressive, all", ("before", "now", "change"))
    yield _row("examples", (str(old), str(new), f"{new - old:+d}"))
    yield from _table(found["progressive"])
    newest = found["newest"]
    if not newest["answers"]:
        yield "none of the newest examples was answered when it came, so served answers are not compared"
        return
    yield _row(f"newest {newest['answers']} answers", ("served", "now", "change"))
    yield from _table(newest["metrics"])
    apart = "" if newest["apart_mean"] is None else (
        f"; the difference is {newest['apart_mean']:.3g} on average, {newest['apart_most']:.3g} at most"
    )  # fmt: skip
    yield f"{newest['same']} of {newest['answers']} are the same{apart} (the served ones did not know later labels)"


def _table(metrics: dict[str, Sequence[float | None]]) -> Iterator[str]:
    for name, (old, new) in metrics.items():
        change = "–" if old is None or new is None else f"{new - old:+.4g}"
        yield _row(name, ("–" if old is None else f"{old:.6g}", "–" if new is None else f"{new:.6g}", change))


def _row(name: str, cells: Sequence[str]) -> str:
    return f"  {name:<22}" + "".join(f"{cell:>{_WIDTH}}" for cell in cells)
