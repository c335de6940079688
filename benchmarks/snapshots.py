"""What snapshots of the joiner's store cost, and how soon they have a joiner with an empty disk back."""

from __future__ import annotations

import shutil
import time
from typing import Final

from benchmarks.figures import Figure, Spread, ratios
from benchmarks.rig import PARTITIONS, Rig, until
from benchmarks.throughput import Size, join, load_halves, load_labels, load_predictions
from consumers.joiner.snapshots import Snapshots, StoreSnapshot
from millstream.config.settings import Settings
from model_store import open_backend
from schemas.topics import Names

_FILL_SECONDS: Final = 1800
_FIRST: Final = 20_000_000  # the number of the first that is pending


def snapshots(rig: Rig, size: Size) -> list[Figure]:
    """Examples/s while a quarter of the time goes by in snapshots, against none, with many predictions pending."""
    names = rig.names("snapshots")
    _fill(rig, names, size.pending)
    count = size.events // 2
    often, never = [], []
    for number in range(size.rounds):
        for rates, every in ((often, "0s"), (never, "1d")):
            load_halves(rig, names, count, (2 * number + len(often)) * count)
            rates.append(join(rig, names, count // 8, every))
    absolute = {"with, examples/s": Spread(tuple(often)), "without, examples/s": Spread(tuple(never))}
    what = f"joiner: examples/s with snapshots of {size.pending:,} pending, as often as possible, against none"
    return [Figure("snapshots", what, ratios(often, never), "", "at least", 0.8, absolute)]


def restore(rig: Rig, size: Size) -> list[Figure]:
    """Seconds from the start of a joiner with an empty disk to its first example, the snapshot being at hand."""
    names = rig.names("restore")
    home = rig.folder / names.prefix
    _fill(rig, names, size.waiting, whole=True)
    folder = home / "models" / names.prefix / "elec" / "joiner"
    back, copied = [], []
    for number in range(size.rounds):
        shutil.rmtree(home / "state")
        began = time.monotonic()
        shutil.copytree(folder, home / "copy")
        copied.append(time.monotonic() - began)
        shutil.rmtree(home / "copy")
        load_labels(rig, names, 100, _FIRST + number * 100)
        back.append(_seconds_to_first_example(rig, names))
    taken = [each for number in range(PARTITIONS) for each in _newest(rig, names, number)]
    megabytes = sum(each.size_bytes for each in taken) / 1e6
    return [
        Figure(
            "restore",
            f"joiner with an empty disk and {size.waiting:,} pending: from its start to its first example",
            Spread(tuple(back)),
            "s",
            "at most",
            60,
            {"snapshot, MB": Spread((megabytes,)), "a bare copy of the snapshots, s": Spread(tuple(copied))},
        )
    ]


def _fill(rig: Rig, names: Names, count: int, *, whole: bool = False) -> None:
    """Have a joiner read so many predictions; `whole`: until there is a snapshot of all of them."""
    load_predictions(rig, names, count, _FIRST)
    topics = [names.topic("predictions"), names.topic("labels")]
    process = rig.role("joiner", names, snapshot_every="1s" if whole else "1d")
    try:
        rig.drained(names.group("joiner"), topics, process, _FILL_SECONDS)
        ends = rig.ends(topics[0])

        def taken() -> bool:
            process.require()
            found = [each for number in range(PARTITIONS) for each in _newest(rig, names, number)]
            return sum(each.local.offsets[0] for each in found) >= sum(ends.values())

        if whole:
            until(taken, _FILL_SECONDS, "there is no snapshot of all that is pending")
    finally:
        process.end()


def _newest(rig: Rig, names: Names, number: int) -> list[StoreSnapshot]:
    settings = Settings(rig.folder / names.prefix, rig.cluster.bootstrap, names.prefix)
    found = Snapshots(open_backend(settings.models), "elec").newest_first(number)
    return [each for each in found if isinstance(each, StoreSnapshot)][:1]


def _seconds_to_first_example(rig: Rig, names: Names) -> float:
    examples = names.topic("examples")
    before = sum(rig.ends(examples).values())
    began = time.monotonic()
    process = rig.role("joiner", names)
    try:

        def joined() -> bool:
            process.require()
            return sum(rig.ends(examples).values()) > before

        until(joined, _FILL_SECONDS, "nothing is joined")
        seconds = time.monotonic() - began
        rig.drained(names.group("joiner"), [names.topic("predictions"), names.topic("labels")], process)
    finally:
        process.end()
    return seconds
