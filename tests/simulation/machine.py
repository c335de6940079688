"""Schedules of a stream, drawn by hypothesis: what comes in, who works, who dies where, and what else goes wrong."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar
from unittest import mock

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from simulation import oracle
from simulation.log import Overlap
from simulation.world import GO_ON, MODELS, NUMBERS, PLACES, ROLES, WAIT, Clock, Fate, World

from consumers.learner import checkpoint_timer

STEPS = 30
_LABELS = ("right", "right", "right", "right", "right", "again", "contradicting", "correction", "misplaced")
_STRANGE = (
    "for no event",
    "unreadable",
    "before its features",
    "used again",
    "used again",
    "upload",
    "upload again",
    "poison",
)
_PACES = st.sampled_from([(9, 9), (3, 3), (1, 5), (9, 0), (0, 9)])
_HOUR, _DAY = 3_600_000, 86_400_000
_SKEWS = (0, _HOUR, -_HOUR, _DAY, -_DAY)
_BAD_TURNS = [(role, Fate(what, place)) for role in ROLES for place in PLACES[role] for what in ("die", "die", "sleep")]
_TURNS = [*_BAD_TURNS, *((role, GO_ON) for role, _ in _BAD_TURNS)]


class Schedule(RuleBasedStateMachine):
    """One schedule. `tallies` sums up over all that were run since it was cleared."""

    tallies: ClassVar[Counter[str]] = Counter()
    always_rough: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.world = World()
        self._patched = mock.patch.object(checkpoint_timer, "time", Clock(self._now))
        self._patched.start()

    def _now(self) -> int:
        return self.world.clock()

    @initialize(
        model=st.sampled_from(sorted(MODELS)),
        on_timeout=st.sampled_from([None, False]),
        rough=st.sampled_from([False, False, True]),
        take=_PACES,
        overlap=st.sampled_from(["never", "early", "late"]),
    )
    def begin(self, model: str, on_timeout: bool | None, rough: bool, take: tuple[int, int], overlap: Overlap) -> None:
        """`rough`: also what no guard can put right, only notice; a learner that stops ends most of a schedule."""
        self.world = World(model, on_timeout, overlap)
        self.rough = rough or self.always_rough
        for role in ("learner", "predictor"):
            self.world.turn(role, 0)
        self.traffic(6, [("right", pick) for pick in (0, 3, 1)], 5)
        self.all_work(take)

    # --- what comes in, and who works --------------------------------------------------------------

    @rule(
        count=st.integers(1, 6),
        labels=st.lists(st.tuples(st.sampled_from(_LABELS), st.integers(0, 40)), min_size=1, max_size=6),
        gap=st.sampled_from([0, 5, 700]),
    )
    def traffic(self, count: int, labels: list[tuple[str, int]], gap: int) -> None:
        for _ in range(count):
            self.world.publish()
            self.world.wait(gap)
        for how, pick in labels:
            self.world.label(how, pick)
            self.world.wait(3)

    @rule(what=st.sampled_from(_STRANGE), pick=st.integers(0, 40))
    def strange_traffic(self, what: str, pick: int) -> None:
        world = self.world
        if what == "used again":
            names = list(world.truths)
            world.publish(names[pick % len(names)])
        elif what in ("upload", "poison"):
            world.upload(1 + pick % 4, poisoned=what == "poison")
        elif what == "upload again":
            world.upload_again(1 + pick % 4)
        else:
            world.label(what, pick)

    @rule(milliseconds=st.sampled_from([1, 400, 1100, WAIT // 2, WAIT + 1, 3 * WAIT]))
    def time_passes(self, milliseconds: int) -> None:
        self.world.wait(milliseconds)

    @rule(take=_PACES)
    def all_work(self, take: tuple[int, int]) -> None:
        for role in ROLES:
            for member in range(2):
                self.world.turn(role, member, take)

    @rule(turns=st.lists(st.tuples(st.sampled_from(_TURNS), _PACES), min_size=1, max_size=5))
    def some_work(self, turns: list[tuple[tuple[str, Fate], tuple[int, int]]]) -> None:
        for (role, fate), take in turns:
            self.world.wait(300)
            self.world.turn(role, self._busiest(role), take, fate)

    def _busiest(self, role: str) -> int:
        first, second = self.world.groups[role].shares
        return int(len(second) > len(first))

    # --- what goes wrong ---------------------------------------------------------------------------

    @rule(turn=st.sampled_from(_BAD_TURNS), take=_PACES, more=st.booleans())
    def a_process_dies_or_sleeps(self, turn: tuple[str, Fate], take: tuple[int, int], more: bool) -> None:
        role, fate = turn
        self.world.wait(600)
        self.world.turn(role, self._busiest(role), take, fate)
        if more:
            self.all_work(take)

    @rule(role=st.sampled_from(ROLES), how=st.integers(0, 3))
    def rebalance(self, role: str, how: int) -> None:
        numbers = NUMBERS
        first = [numbers, frozenset({0}), frozenset({1}), frozenset()][how]
        if role == "learner":
            first = numbers if how % 2 else frozenset()
        self.world.share(role, {0: first, 1: numbers - first})

    @rule(what=st.sampled_from(["disk", "clock", "clock", "store", "pause"]), pick=st.integers(0, 4))
    def a_machine_fails(self, what: str, pick: int) -> None:
        world = self.world
        if what == "disk":
            world.lose_disk(pick % 2)
        elif what == "clock":
            world.tally["clock jumps"] += _SKEWS[pick] != world.skew
            world.skew = _SKEWS[pick]
        elif what == "store":
            world.backend.full = pick
        else:
            world.control.paused = not world.control.paused

    @rule(
        kind=st.sampled_from(["features", "predictions", "labels", "labels", "examples"]),
        more=st.integers(1, 3),
        running=st.booleans(),
        when=st.integers(0, 2),
    )
    def partitions_are_added(self, kind: str, more: int, running: bool, when: int) -> None:
        if when == 2:
            self.world.grow(kind, more, running)

    @precondition(lambda self: not self.world.remade)
    @rule(kind=st.sampled_from(["labels", "predictions"]), with_places=st.booleans(), when=st.integers(0, 3))
    def a_topic_is_made_again(self, kind: str, with_places: bool, when: int) -> None:
        if when == 3:  # not in each schedule: it ends what went before
            self.world.remake(kind, with_places)

    @precondition(lambda self: self.rough)
    @rule(what=st.sampled_from(["lost", "kept twice", "places", "places and disks", "log"]), when=st.integers(0, 2))
    def the_broker_fails(self, what: str, when: int) -> None:
        world = self.world
        if what in ("lost", "kept twice"):
            world.damage_next(what)
        elif world.remade or world.forgotten:
            return
        elif what == "log" and when == 2:
            world.remake("examples", with_places=False)
        elif what != "log" and (when == 2 or self.always_rough):
            world.forget_places(disks_too=what == "places and disks")
            # They read again, at a pace of their own: what is joined comes in another order.
            for take in ((9, 0) if when else (0, 9), (9, 9)):
                world.turn("joiner", self._busiest("joiner"), take)

    # --- the end -----------------------------------------------------------------------------------

    @invariant()
    def one_more_step(self) -> None:
        self.steps += 1

    def teardown(self) -> None:
        try:
            self.world.settle()
            oracle.check(self.world)
        finally:
            self._patched.stop()
        self.tallies.update(self.world.tally)
        self.tallies["steps"] += self.steps - 1  # the beginning is none
        self.tallies["schedules"] += self.steps > STEPS
        self.tallies["examples learned"] += self.world.store.versions("sim")[-1].examples


def run(schedules: int, seed: int, **more: Any) -> Counter[str]:
    """Run so many schedules, each of `STEPS` steps or more; return what went wrong in them, and how often."""
    Schedule.tallies.clear()
    machine = hypothesis.seed(seed)(Schedule)
    chosen: dict[str, Any] = {
        "max_examples": schedules,
        "stateful_step_count": STEPS + 2,
        "phases": (Phase.generate, Phase.shrink),
        "suppress_health_check": list(HealthCheck),
        "report_multiple_bugs": False,
        "deadline": None,
        "database": None,
        "print_blob": True,
    }
    run_state_machine_as_test(machine, settings=settings(**{**chosen, **more}), _min_steps=STEPS)
    return Schedule.tallies
