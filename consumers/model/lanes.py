"""Order of each lane: accepts the next example, skips a remembered repeat, refuses anything else."""

from __future__ import annotations

import zlib
from array import array
from dataclasses import dataclass, field
from typing import Any, Final

from runtime.exits import RoleRefused
from schemas.events import Lane

REMEMBERED: Final = 1024  # number of newest ids kept for each lane, as hashes


def _digest(event_id: str) -> int:
    """Return a 64-bit digest of an id: two checksums detect accidental mix-ups in a tenth of a hash's time."""
    raw = event_id.encode()
    return (zlib.crc32(raw) << 32 | zlib.adler32(raw)) or 1  # 0 stands for none


class LaneFault(RoleRefused):
    """An example out of its lane's order. Nothing was learned from it.

    Attributes
    ----------
    lane
        The lane of the example.
    """

    def __init__(self, lane: Lane, message: str) -> None:
        super().__init__(message)
        self.lane = lane


@dataclass
class LaneState:
    """One lane: its epoch, the next sequence number, and the newest ids."""

    epoch: str
    next: int = 0
    ids: array[int] = field(default_factory=lambda: array("Q"))
    again: bool = False  # older examples may be repeated, until the next new one comes


class Lanes:
    """Admits each example of each lane once, in order.

    A repeat is skipped only if it is remembered as the same sequence number of the same event; anything else out of
    order stops the learner. A learner that skipped every apparent repeat once lost 600 new examples of a joiner that
    had started again at 0.
    """

    def __init__(self) -> None:
        self._lanes: dict[str, LaneState] = {}

    def admit(self, lane: Lane, event_id: str) -> bool:
        """Return whether the example is new; `False` for a remembered repeat.

        Raises
        ------
        LaneFault
            If a sequence number is missing, or is repeated with another event.
        """
        state = self._lanes.get(lane.name)
        if state is None or state.epoch != lane.epoch:
            if lane.sequence != 0:
                raise LaneFault(
                    lane,
                    f"lane {lane.name} begins epoch {lane.epoch!r} with sequence {lane.sequence}, not 0: "
                    f"{lane.sequence} examples before it are not on the log. {_WAYS}",
                )
            self._lanes[lane.name] = state = LaneState(lane.epoch)
        if lane.sequence == state.next:
            self.remember(state, event_id)
            return True
        if lane.sequence < state.next:
            back = state.next - lane.sequence
            remembered = back <= len(state.ids)
            if remembered and state.ids[lane.sequence % REMEMBERED] == _digest(event_id):
                return False
            if state.again and not remembered:
                return False
            raise LaneFault(
                lane,
                f"lane {lane.name} has sequence {lane.sequence} again, as event {event_id!r}, where "
                f"{state.next} was expected: its joiner has started from 0 again. {_WAYS}",
            )
        raise LaneFault(
            lane,
            f"lane {lane.name} jumps from sequence {state.next} to {lane.sequence}: "
            f"{lane.sequence - state.next} examples are not on the log. {_WAYS}",
        )

    def expecting(self, lane: Lane) -> LaneState | None:
        """Return the lane's state if the example is the next one of its lane, else `None`."""
        state = self._lanes.get(lane.name)
        return state if state is not None and lane.sequence == state.next and lane.epoch == state.epoch else None

    def remember(self, state: LaneState, event_id: str) -> None:
        """Admit the example that `state` expects."""
        slot = state.next % REMEMBERED
        if slot < len(state.ids):
            state.ids[slot] = _digest(event_id)
        else:
            state.ids.append(_digest(event_id))
        state.next += 1
        state.again = False

    def read_again(self) -> None:
        """Accept all earlier examples as repeats, because a log that was cut short is read from its beginning."""
        for state in self._lanes.values():
            state.again = True

    def stand_at(self, lane: Lane) -> None:
        """Continue a lane at the given example: `lane` is its next one."""
        nothing = array("Q", bytes(8 * min(lane.sequence, REMEMBERED)))  # no id's digest is 0
        self._lanes[lane.name] = LaneState(lane.epoch, lane.sequence, nothing)

    def places(self) -> dict[str, list[Any]]:
        """Return epoch and next sequence number of each lane, without the remembered ids."""
        return {name: [state.epoch, state.next] for name, state in self._lanes.items()}

    @classmethod
    def going_on(cls, places: dict[str, list[Any]]) -> Lanes:
        """Return lanes that continue at `places` and remember no ids."""
        lanes = cls()
        for name, (epoch, following) in places.items():
            lanes.stand_at(Lane(name, epoch, following))
        return lanes

    def dump(self) -> dict[str, Any]:
        """Return the state as plain values."""
        return {
            name: (state.epoch, state.next, state.ids.tobytes(), *([True] if state.again else []))
            for name, state in self._lanes.items()
        }

    @classmethod
    def load(cls, dumped: dict[str, Any]) -> Lanes:
        """Return the object that `dump` describes."""
        lanes = cls()
        for name, (epoch, following, ids, *again) in dumped.items():
            remembered = array("Q")
            remembered.frombytes(ids)
            lanes._lanes[name] = LaneState(epoch, following, remembered, bool(again))
        return lanes


_WAYS: Final = (
    "Nothing was learned from it; `millstream examples STREAM` shows the log. "
    "Start the learner once with --new-epoch keep to continue the lane where it is now"
)
