"""Public predictions for other teams: in Avro, in JSON, or framed by a schema registry."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec

from schemas import codec
from schemas.codec import CodecError
from schemas.events import Prediction

if TYPE_CHECKING:
    from schemas.schema_registry import Registry

PredictionsFormat = Literal["avro", "json", "registry"]
Encode: TypeAlias = Callable[[Prediction], bytes]
CONTENT_TYPES: Final[dict[PredictionsFormat, str]] = {
    "avro": "application/avro",
    "json": "application/json",
    "registry": "application/avro",
}
_json: Final = msgspec.json.Encoder()


class NoSchema(Exception):  # noqa: N818
    """The registry lacks the schema of predictions; the message says how to register it."""


def encoder(
    format: PredictionsFormat,  # noqa: A002 - the field's own name
    *,
    features: bool = True,
    registry: Registry | None = None,
    subject: str = "",
) -> Encode:
    """Return the function that encodes a prediction as a message.

    - ``avro``: a single object, as on Millstream's own topics.
    - ``json``: one object with the names that the event and the outcome have in the Avro schema. Numbers are not
      rounded, NaN and infinity are null, bytes are base64.
    - ``registry``: byte 0, the schema's id in four bytes, and the same Avro without a header.

    The returned function raises `CodecError` if the prediction cannot be encoded.

    Parameters
    ----------
    features
        True to include the features used; otherwise their map is empty, and JSON has none.
    subject
        The schema's subject in the registry: the topic's name and ``-value``.

    Raises
    ------
    NoSchema
        If the registry does not have the schema, and registering it is not allowed.
    RegistryError
        If the registry does not answer, or refuses the schema.
    """
    if format == "json":
        return _to_json if features else _to_json_without_features
    if format == "avro":
        write: Encode = _to_avro
    else:
        write = _framed(_id_of_predictions(registry, subject))
    return write if features else lambda prediction: write(_without_features(prediction))


def _without_features(prediction: Prediction) -> Prediction:
    return Prediction(msgspec.structs.replace(prediction.event, features={}), prediction.outcome)


def _to_json(prediction: Prediction) -> bytes:
    return _json_of({**msgspec.structs.asdict(prediction.event), **msgspec.structs.asdict(prediction.outcome)})


def _to_json_without_features(prediction: Prediction) -> bytes:
    told = {**msgspec.structs.asdict(prediction.event), **msgspec.structs.asdict(prediction.outcome)}
    del told["features"]
    return _json_of(told)


def _json_of(told: dict[str, Any]) -> bytes:
    try:
        return _json.encode(told)
    except (ValueError, TypeError, OverflowError) as error:
        raise CodecError(f"the prediction cannot be written as JSON: {error}") from error


def _to_avro(prediction: Prediction) -> bytes:
    return codec.PREDICTION.encode(_fields(prediction))


def _framed(number: int) -> Encode:
    frame = b"\x00" + number.to_bytes(4, "big")
    return lambda prediction: frame + codec.PREDICTION.encode_body(_fields(prediction))


def _fields(prediction: Prediction) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(prediction, builtin_types=(bytes,))
    return fields


def predictions_schema() -> str:
    """Return the Avro schema of predictions in the form for a registry."""
    return json.dumps(codec.full_schema("Prediction"))


def _id_of_predictions(registry: Registry | None, subject: str) -> int:
    if registry is None:
        raise NoSchema(
            'Predictions(format="registry") needs a schema registry: set MILLSTREAM_REGISTRY_URL, or url under '
            "[registry] in millstream.toml"
        )
    found = registry.id_of(subject, predictions_schema())
    if found is None and registry.auto_register:
        return registry.register(subject, predictions_schema())
    if found is None:
        raise NoSchema(
            f"the schema registry does not have Millstream's schema of predictions as {subject}: register what "
            "`millstream schema Prediction` prints, or set MILLSTREAM_REGISTRY_AUTO_REGISTER=true"
        )
    return found
