"""Whether a role that has worked for longer has grown: memory, threads and file handles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from benchmarks import material
from benchmarks.figures import Figure, Spread
from benchmarks.material import cycle, event, event_id
from benchmarks.rig import PARTITIONS, Process, Rig
from benchmarks.throughput import Size, load_halves, publish_untrained
from schemas.topics import Names

_INPUTS: Final = {"predictor": ("features",), "joiner": ("predictions", "labels"), "learner": ("examples",)}

# Its store keeps the pages of its largest transaction, which has the more pages the larger the store is.
_LEVELS_OFF: Final = frozenset({"joiner"})


class Look(NamedTuple):
    """What a process has.

    Attributes
    ----------
    resident, own
        MB; `own` without the pages of files that the kernel may take back (the joiner's store).
    """

    resident: float
    own: float
    threads: int
    files: int


def look(process: Process) -> Look:
    """Look at a process as it is now."""
    memory = process.stats.memory_info()
    threads, files = process.stats.num_threads(), process.stats.num_fds()
    return Look(memory.rss / 2**20, (memory.rss - memory.shared) / 2**20, threads, files)


def memory(rig: Rig, size: Size) -> list[Figure]:
    """Growth of each role between its first and its last look."""
    return [_grown(rig, size, role, load) for role, load in _LOADS.items()]


def _features(rig: Rig, names: Names, count: int, start: int) -> None:
    records = ((n % PARTITIONS, event_id(n).encode(), event(n, row).encode()) for n, row in cycle(count, start))
    rig.load(names.topic("features"), records)


def _examples(rig: Rig, names: Names, count: int, start: int) -> None:
    rig.load(names.topic("examples"), ((0, None, value) for value in material.examples(count, start)))


_LOADS: Final[dict[str, Callable[[Rig, Names, int, int], None]]] = {
    "predictor": _features,
    "joiner": load_halves,
    "learner": _examples,
}


def _grown(rig: Rig, size: Size, role: str, load: Callable[[Rig, Names, int, int], None]) -> Figure:
    names = rig.names(f"memory-{role}")
    topics = [names.topic(kind) for kind in _INPUTS[role]]
    if role == "predictor":
        publish_untrained(rig, names)
    process = rig.role(role, names)
    try:
        process.until_ready()
        # By equal portions: how much lies in a client's buffers depends on how far behind it is.
        end = 2 * size.last if role in _LEVELS_OFF else size.last
        every = [
            _after(rig, names, role, topics, process, load, start, size.first) for start in range(0, end, size.first)
        ]
    finally:
        process.end()
    looks, beyond = every[: size.last // size.first], every[size.last // size.first :]
    first, last = looks[0], looks[-1]
    grown = last.own - first.own
    flat = (last.threads, last.files) == (first.threads, first.files)
    absolute = {
        f"after {size.first:,}, MB": Spread((first.own,)),
        f"after {size.last:,}, MB": Spread((last.own,)),
        "in between, MB": Spread(tuple(each.own for each in looks)),
        "with pages of files, MB": Spread((first.resident, last.resident)),
        "threads": Spread((first.threads, last.threads)),
        "file handles": Spread((first.files, last.files)),
    }
    if beyond:
        absolute[f"from there to {end:,}, MB"] = Spread(tuple(each.own for each in beyond))
    return Figure(
        f"memory-{role}",
        f"memory of the {role} (LR): growth from {size.first:,} to {size.last:,} events; threads, files constant",
        Spread((grown,)),
        "MB",
        "at most",
        5,
        absolute,
        "" if flat else "threads or file handles are not flat",
        failed=not flat,
    )


def _after(
    rig: Rig,
    names: Names,
    role: str,
    topics: Sequence[str],
    process: Process,
    load: Callable[[Rig, Names, int, int], None],
    start: int,
    count: int,
) -> Look:
    load(rig, names, count, start)
    rig.drained(names.group(role), topics, process)
    return look(process)
