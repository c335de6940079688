"""State of rules beside the offset on the profiles topic: raised alerts, and times of actions.

All of it is written in the transaction that holds the alerts and the actions, so a process that starts again knows of
exactly those. Times are in seconds, because Kafka takes 4,096 characters in all.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from consumers.loop.offset_metadata import decodable
from schemas.profiles import DAY_MS, HOUR_MS

_HOUR_S = HOUR_MS // 1000
_DAY_S = DAY_MS // 1000
_MOST_A_DAY = 3


class RuleState(msgspec.Struct, array_like=True):
    """State of one rule. Times in seconds since 1970, 0 for none.

    Attributes
    ----------
    raised
        When the alert was raised.
    since
        Since when the condition holds, if the alert is not raised; since when it has ended, if it is.
    told
        When its list of findings was sent last.
    digest
        Hash of that list.
    """

    raised: int = 0
    since: int = 0
    told: int = 0
    digest: str = ""


@decodable
class RulesState(msgspec.Struct):
    """State of all rules.

    Attributes
    ----------
    rules
        By name; a rule that is neither raised nor about to be is left out.
    done
        Times (s) of the last actions, by kind.
    judged
        End (s) of the newest bucket that was judged, by kind of the windows.
    began
        End (s) of the first bucket that was judged in time, 0 before: rules are about no earlier ones.
    """

    rules: dict[str, RuleState] = msgspec.field(default_factory=dict)
    done: dict[str, list[int]] = msgspec.field(default_factory=dict)
    judged: dict[str, int] = msgspec.field(default_factory=dict)
    began: int = 0

    def encode(self) -> str:
        """Return it as text."""
        kept = {name: state for name, state in self.rules.items() if state.raised or state.since}
        return msgspec.json.encode(msgspec.structs.replace(self, rules=kept)).decode()

    @classmethod
    def decode(cls, text: str) -> RulesState:
        """Return the state of a text; the initial one if it is empty or none."""
        try:
            return _DECODER.decode(text) if text else cls()
        except (msgspec.DecodeError, msgspec.ValidationError):
            return cls()

    def of(self, name: str) -> RuleState:
        """Return the state of a rule."""
        return self.rules.setdefault(name, RuleState())

    def why_not_again(self, kind: str, now_s: int) -> str | None:
        """Return why an action of this kind is not due now, `None` if it is."""
        times = [each for each in self.done.get(kind, ()) if each > now_s - _DAY_S]
        if times and times[-1] > now_s - _HOUR_S:
            return "it happened within the last hour"
        return "it happened three times within a day" if len(times) >= _MOST_A_DAY else None

    def note(self, kind: str, now_s: int) -> None:
        """Note that an action happened."""
        self.done[kind] = [*self.done.get(kind, ()), now_s][-_MOST_A_DAY:]


def short(text: str) -> str:
    """Return the hash by which a list of findings is remembered."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


_DECODER: Final = msgspec.json.Decoder(RulesState)
