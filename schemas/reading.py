"""Messages of others: what their bytes say, as plain Python values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from schemas import codec
from schemas.codec import HEADER_BYTES, MAGIC, CodecError

if TYPE_CHECKING:
    from schemas.registry import Registry
    from schemas.source import Source

Headers: TypeAlias = Sequence[tuple[str, bytes | None]]
Decode: TypeAlias = Callable[[bytes, Headers], Any]
_OURS: Final = {each.header: each for each in (codec.EVENT, codec.PREDICTION, codec.LABEL, codec.EXAMPLE)}
_NO_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)
_json: Final = msgspec.json.Decoder()


def decoder(source: Source, registry: Registry | None = None) -> Decode:
    """Return what turns a message's bytes and headers into nested dicts, lists and scalars.

    Raises
    ------
    CodecError
        From the function returned, where the bytes cannot be read as the source says; it says what they are instead.
    """

    def decode(data: bytes, headers: Headers = ()) -> Any:
        return _single_object(data) if data.startswith(MAGIC) else _from_json(data)

    return decode


def _from_json(data: bytes) -> Any:
    try:
        return _json.decode(data)
    except _NO_JSON as error:
        raise CodecError(f"not JSON: {error}") from error


def _single_object(data: bytes) -> dict[str, Any]:
    ours = _OURS.get(data[:HEADER_BYTES])
    if ours is None:
        raise CodecError(f"an Avro single object of an unknown schema (fingerprint {data[2:HEADER_BYTES].hex()})")
    return ours.decode(data)
