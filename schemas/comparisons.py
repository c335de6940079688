"""Records of the comparison of models: shadow answers, and shadow answers joined with their label."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from schemas import codec
from schemas.events import Event, Failure, Joined, Label, LabelValue, Lane, Outcome

MODEL_FAILED: Final = "model"
"""Code of the error where the model itself failed, served or in the shadow; another code is the event's own fault."""
NO_VERSION: Final = "no-version"
"""Code where a challenger had no version yet when the prediction was made: it was not asked, which is no failure."""
NO_USABLE_VERSION: Final = "no-usable-version"
"""Code where versions of a challenger were announced by then, and none can be loaded."""
TRUE: Final = "true"
FALSE: Final = "false"


class Challenger(msgspec.Struct, frozen=True, gc=False):
    """What one model would have answered to an event.

    Attributes
    ----------
    epoch, examples
        The version that answered: the newest announced before the prediction; -1 if there was none.
    age_ms
        Time from the announcement of that version to the prediction, both by the broker; -1 if there was none.
    error
        Code of why there is no answer; `None` if there is one.
    """

    model: str
    epoch: int
    examples: int
    age_ms: int
    prediction: LabelValue | None
    probabilities: dict[str, float] | None
    error: str | None = None


def is_unready(answer: Challenger | Outcome) -> bool:
    """Return whether this is no answer because the version has learned nothing yet: then its model takes no part."""
    return answer.error is None and answer.examples == 0 and answer.prediction is None and not answer.probabilities


class Shadow(msgspec.Struct, frozen=True, gc=False):
    """What was served for an event, and what each challenger would have answered.

    Attributes
    ----------
    event
        Without features.
    partition, offset, time
        Place of the prediction, and the broker's time of it (ms).
    slices
        Value of the event by name of the slice.
    """

    event: Event
    partition: int
    offset: int
    time: int
    slices: dict[str, str]
    challengers: list[Challenger]
    outcome: Outcome

    def encode(self) -> bytes:
        """Return header and body. Raises CodecError if a value does not fit the schema."""
        fields = msgspec.structs.asdict(self)
        fields["event"] = msgspec.structs.asdict(self.event)
        fields["outcome"] = msgspec.to_builtins(self.outcome)
        fields["challengers"] = [_packed(each) for each in self.challengers]
        return codec.SHADOW.encode(fields)


class Comparison(msgspec.Struct, frozen=True, gc=False):
    """A `Shadow` with its label. `joined` has the offsets on shadows and labels, and the broker's times."""

    shadow: Shadow
    label: Label | None
    lane: Lane
    joined: Joined | None


def read_shadow(data: bytes) -> Shadow:
    """Read a record of the shadows topic. Raises CodecError if it is not one."""
    return _shadow(codec.SHADOW.decode(data))


def read_comparison(data: bytes) -> Comparison:
    """Read a record of the comparisons topic. Raises CodecError if it is not one."""
    fields = codec.COMPARISON.decode(data)
    label, joined = fields["label"], fields["joined"]
    return Comparison(
        _shadow(fields["shadow"]),
        None if label is None else Label(**label),
        Lane(**fields["lane"]),
        None if joined is None else Joined(**joined),
    )


def _packed(each: Challenger) -> dict[str, Any]:
    """Return a challenger's fields; of the two probabilities of a binary answer only one is written."""
    fields = msgspec.structs.asdict(each)
    shares = each.probabilities
    if shares is not None and shares.keys() == {TRUE, FALSE} and shares[FALSE] == 1.0 - shares[TRUE]:
        fields["probabilities"] = shares[TRUE]
    return fields


def _shadow(fields: dict[str, Any]) -> Shadow:
    if fields["outcome"] is None:
        raise codec.CodecError("damaged Shadow: it holds no outcome")
    outcome = fields.pop("outcome")
    failure = outcome.pop("error")
    return Shadow(
        event=Event(**fields.pop("event")),
        outcome=Outcome(**outcome, error=None if failure is None else Failure(**failure)),
        challengers=[_challenger(each) for each in fields.pop("challengers")],
        **fields,
    )


def _challenger(fields: dict[str, Any]) -> Challenger:
    share = fields["probabilities"]
    if isinstance(share, float):
        fields["probabilities"] = {FALSE: 1.0 - share, TRUE: share}
    return Challenger(**fields)
