"""Predictions as others read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import msgspec

from schemas import codec
from schemas.codec import CodecError
from schemas.events import Prediction

if TYPE_CHECKING:
    from schemas.registry import Registry


def encoder(
    format: Literal["avro", "json", "registry"],  # noqa: A002 - as it is called in a stream file
    *,
    features: bool,
    registry: Registry | None = None,
    subject: str = "",
) -> Callable[[Prediction], bytes]:
    """Return what makes a message of a prediction; CodecError from that where it cannot be written."""
    if format == "registry":
        raise CodecError(f"predictions of {subject} cannot be framed by a registry yet")

    def encode(prediction: Prediction) -> bytes:
        event = prediction.event if features else msgspec.structs.replace(prediction.event, features={})
        if format == "avro":
            fields = {"event": msgspec.structs.asdict(event), "outcome": _plain(prediction)}
            return codec.PREDICTION.encode(fields)
        told = {**msgspec.structs.asdict(event), **_plain(prediction)}
        if not features:
            del told["features"]
        return msgspec.json.encode(told)

    return encode


def _plain(prediction: Prediction) -> dict[str, object]:
    outcome = msgspec.structs.asdict(prediction.outcome)
    if prediction.outcome.error is not None:
        outcome["error"] = msgspec.structs.asdict(prediction.outcome.error)
    return outcome
