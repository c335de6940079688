"""Events with answers of three models and labels, as shadows and comparisons hold them; drawn by a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from schemas import codec
from schemas.comparisons import Challenger, Shadow
from schemas.events import Event, Failure, Joined, Label, Lane, Outcome

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
WAIT_MS = DAY
PARTITIONS = 2
FILE = """
from river import linear_model, metrics
from millstream import Evaluation, Labels, Model, Promote, Stream

stream = Stream(
    name="fraud", task="binary", model=lambda: linear_model.LogisticRegression(),
    models={{"forest": Model(lambda: linear_model.LogisticRegression(l2=0.1)),
            "tree": Model(lambda: linear_model.Perceptron())}},
    labels=Labels(wait="1d"), slices={{"large": "amount > 1000", "country": "country"}},
    {more}
)
"""


def stream_file(folder: Path, more: str = 'promote=Promote(loss="brier")') -> str:
    """Write a stream file with three models, and return its path."""
    path = folder / "compared_fraud.py"
    path.write_text(FILE.format(more=more))
    return str(path)


@dataclass
class Drawn:
    """One shadowed event.

    Attributes
    ----------
    delay_ms
        From prediction to label; `None` if no label came.
    timed_out
        The label stands for a missing one.
    corrected
        The value of the last correction, `None` without one.
    """

    shadow: Shadow
    label: bool
    delay_ms: int | None
    timed_out: bool = False
    corrected: bool | None = None


def drawn(count: int, begin_ms: int, seed: int = 7, *, quick_favours: float = 0.0) -> list[Drawn]:
    """Return events in the order of their predictions.

    Parameters
    ----------
    quick_favours
        By how much forest is better than main on quick labels alone.
    """
    rng = random.Random(seed)
    events = []
    for number in range(count):
        label = rng.random() < 0.3
        quick = rng.random() < 0.5
        delay = rng.randrange(1000, 10 * MINUTE) if quick else rng.randrange(HOUR, 20 * HOUR)
        gain = quick_favours if quick else 0.0
        shares = {
            "main": _share(rng, label, 0.20),
            "forest": _share(rng, label, 0.20 + gain),
            "tree": _share(rng, label, 0.12),
        }
        fate = rng.random()
        events.append(
            Drawn(
                _shadow(rng, number, begin_ms + number * 2 * MINUTE, shares),
                label,
                None if fate < 0.1 else delay,
                timed_out=0.1 <= fate < 0.15,
                corrected=(not label) if 0.15 <= fate < 0.2 else None,
            )
        )
    return events


def _share(rng: random.Random, label: bool, skill: float) -> float:
    return min(0.99, max(0.01, rng.betavariate(2, 2) + (skill if label else -skill)))


def _shadow(rng: random.Random, number: int, time_ms: int, shares: dict[str, float]) -> Shadow:
    serving = "main" if number % 10 else "tree"
    failed = rng.random() < 0.03
    outcome = Outcome(
        None if failed else shares[serving] > 0.5,
        None if failed else {"false": 1.0 - shares[serving], "true": shares[serving]},
        _id(serving),
        2,
        number,
        time_ms,
        "fraud.features",
        number % PARTITIONS,
        number,
        Failure("model", "it raised") if failed else None,
        "serving",
        "error" if failed else "ok",
    )
    challengers = [_challenger(rng, name, number, share) for name, share in shares.items() if name != serving]
    slices = {"large": "true" if rng.random() < 0.25 else "false"}
    if rng.random() < 0.8:
        slices["country"] = rng.choice(["de", "fr", "pt"])
    event = Event(f"e{number}", time_ms, {})
    return Shadow(event, number % PARTITIONS, number, time_ms, slices, challengers, outcome)


def _challenger(rng: random.Random, name: str, number: int, share: float) -> Challenger:
    if number < 20 and name == "forest":
        return Challenger(_id(name), -1, -1, -1, None, None, "no-version")
    if rng.random() < 0.02:
        return Challenger(_id(name), 1, number, 1500, None, None, "model")
    return Challenger(_id(name), 1, number, 1500, share > 0.5, {"false": 1.0 - share, "true": share})


def _id(name: str) -> str:
    return "fraud" if name == "main" else f"fraud.{name}"


def comparisons(events: list[Drawn]) -> list[bytes]:
    """Return the records of a judge: in the order of the labels, each lane numbered, corrections behind all."""
    came = [each for each in events if each.delay_ms is not None or each.timed_out]
    came.sort(key=lambda each: each.shadow.time + (WAIT_MS if each.timed_out else each.delay_ms or 0))
    numbers = [0] * PARTITIONS
    records = [_comparison(each, each.label, "label", numbers) for each in came]
    return records + [
        _comparison(each, each.corrected, "correction", numbers) for each in came if each.corrected is not None
    ]


def _comparison(each: Drawn, value: bool, kind: Any, numbers: list[int]) -> bytes:
    shadow, partition = each.shadow, each.shadow.partition
    time = shadow.time + (each.delay_ms or 0)
    label = Label(shadow.event.event_id, value, time, source="timeout" if each.timed_out else "system", kind=kind)
    lane = Lane(str(partition), "e", numbers[partition])
    numbers[partition] += 1
    at = (-1, -1) if each.timed_out else (numbers[partition], time)
    joined = Joined(partition, shadow.offset, shadow.time, *at)
    return codec.COMPARISON.encode(
        {
            "shadow": codec.SHADOW.decode(shadow.encode()),
            "label": msgspec.to_builtins(label),
            "lane": msgspec.to_builtins(lane),
            "joined": msgspec.to_builtins(joined),
        }
    )
