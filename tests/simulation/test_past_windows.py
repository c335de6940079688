"""The monitor makes windows of the past, which a fixed reference needs: each once, whatever ends its process."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Generator, Mapping

from msgspec.structs import replace
from simulation.watching import EXAMPLES, NAMES, PREDICTIONS, RULES, WINDOWS, World

from consumers.monitor.monitor import MonitorSettings
from consumers.monitor.windows import PartitionWindows
from schemas.profiles import Window

PLACES = ("recovering", "polled", "processed", "before the commit", "between the log's commit and the local one")


class Past:
    """Windows of the first records, from the log in memory: those of one stretch together, the last ones first."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.asked: list[dict[str, int]] = []

    def __call__(self, first_times: Mapping[str, int], begun: Collection[str]) -> Generator[list[Window], None, None]:
        self.asked.append(dict(first_times))
        assert not begun
        for topic, (kind, reader) in MonitorSettings(NAMES, RULES).kinds().items():
            made: list[Window] = []
            for partition, records in self.world.log.records.items():
                if partition.topic == topic:
                    before = [each for each in records if each.timestamp < first_times[topic]]
                    windows = PartitionWindows(kind, RULES, reader)
                    made += [replace(each, state=b"") for each in [*windows.take(before), *windows.finish()]]
            for start in sorted({each.start for each in made}, reverse=True):
                yield [each for each in made if each.start == start]
                yield []


def begun_late(past: int, crash: Callable[[str], bool] = lambda place: False) -> tuple[World, Past]:
    """Return a world whose monitor began after so many predictions, and then was to make the windows before, too."""
    world = World()
    world.predict(past)
    first = {at: len(records) for at, records in world.log.records.items() if at.topic != WINDOWS}
    made = Past(world)
    world.predict(60)
    world.work(monitor=lambda: world.monitor(first=lambda partitions: {at: first[at] for at in partitions}))
    world.predict(40)
    world.work(crash, monitor=lambda: world.monitor(past=made))
    world.predict(20)
    loop = world.loop(processor=world.monitor(past=made))
    for _ in range(100):
        loop.step({PREDICTIONS: 3, EXAMPLES: 3, WINDOWS: 3})
    assert loop.idle()
    return world, made


def test_windows_of_the_past_are_written_once_wherever_it_is_killed_and_nobody_goes_on_from_them() -> None:
    calm_one, _ = begun_late(50)
    places = {place: {each.first_offset for each in found} for place, found in calm_one.by_place().items()}
    assert all(0 in offsets for offsets in places.values()), "the past is there"
    for place in PLACES:
        for every in (2, 5):
            number = itertools.count(1)
            world, made = begun_late(
                50, lambda at, p=place, n=number, e=every: at == p and next(n) in {e, 3 * e, 7 * e}
            )
            keys = [window.key for window in world.windows()]
            assert len(keys) == len(set(keys)), place
            assert sorted(keys) == sorted(each.key for each in calm_one.windows()), place
            assert len(made.asked) >= 2
    labelled = [each for each in calm_one.by_place()[EXAMPLES, 0] if each.state]
    assert labelled[-1].state.decode().split()[-1] == f"e{2 * labelled[-1].next_offset - 1}"
    assert calm_one.note(EXAMPLES).windows == len(labelled), "windows of the past are not counted as watched"
