"""The judge role: the joiner's code over shadow answers and labels, which writes comparisons.

A comparison is a shadow's bytes, then its label, lane and offsets. The time of a shadow is that of its prediction, so a
label matches whether the shadow role is current or far behind. The judge writes nothing onto the topic of labels: it
waits for the labels that the joiner forwards, and for the joiner's ticks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from consumers.joiner.join_state import JoinRules
from consumers.joiner.joiner import JoinerSettings
from consumers.joiner.joins import Joins
from consumers.roles import JUDGE
from schemas import codec
from schemas.codec import HEADER_BYTES, CodecError
from schemas.comparisons import read_shadow
from schemas.events import Features, is_served
from schemas.fast_features import skip_to_features
from schemas.topics import COMPARISONS, SHADOWS, Names

_TICK_HEADER: Final = codec.SHADOW_TICK.header
_LONGEST_NUMBER: Final = 10  # bytes of a varint of 64 bits


class ShadowReader:
    """Reads shadows as the join needs them."""

    def joinable(self, data: bytes) -> bool:
        """Return whether a shadow is joined with its label: also where the model that served has failed."""
        return is_served(data)

    def features(self, data: bytes) -> Features:
        """Return the features of a shadow: it has none. Raises CodecError if it is not one."""
        return read_shadow(data).event.features

    def check(self, data: bytes) -> None:
        """Raise CodecError unless the bytes are a shadow."""
        read_shadow(data)


def time_of(shadow: bytes) -> int:
    """Return the broker's time of a shadow's prediction (ms). Raises CodecError if it cannot be read."""
    found = skip_to_features(shadow, HEADER_BYTES)
    if found is None or shadow[found[2] : found[2] + 1] != b"\x00":
        return read_shadow(shadow).time
    at = found[2] + 1  # behind the features, of which there are none: partition, offset and time
    try:
        for _ in range(2):
            while shadow[at] > 0x7F:
                at += 1
            at += 1
        number = shift = 0
        for byte in shadow[at : at + _LONGEST_NUMBER]:
            number |= (byte & 0x7F) << shift
            if byte <= 0x7F:
                return (number >> 1) ^ -(number & 1)
            shift += 7
    except IndexError:
        pass
    raise CodecError("damaged Shadow: it ends before its time")


def tick(value: bytes) -> int | None:
    """Return the time in a tick of the shadow role (ms, by the broker), `None` for any other record."""
    if not value.startswith(_TICK_HEADER):
        return None
    try:
        time: int = codec.SHADOW_TICK.decode(value)["time"]
    except CodecError:
        return None
    return time


SHADOW_ANSWERS: Final = Joins(
    JUDGE,
    first=lambda names: names.topic(SHADOWS),
    output=COMPARISONS,
    header=codec.SHADOW.header,
    output_header=codec.COMPARISON.header,
    noun="shadow answer",
    reader=ShadowReader,
    time_of=time_of,
    tick=tick,
    keeps_labels=False,
)


def comparison_rules(rules: JoinRules) -> JoinRules:
    """Return the rules of a stream's judge: those of its joiner, but nothing is compared without a label or weighted.

    A weight changes what is learned, not how good an answer is.
    """
    return replace(rules, learn_from_events=False, weights=None, weight_of=None)


def judge_settings(
    names: Names, rules: JoinRules, spread: int, max_pending: int, new_epoch: bool = False
) -> JoinerSettings:
    """Return the settings of a judge; the parameters are those of the stream's joiner."""
    return JoinerSettings(names, comparison_rules(rules), spread, max_pending, new_epoch, SHADOW_ANSWERS)
