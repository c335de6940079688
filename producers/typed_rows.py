"""Conversion of records with typed values (JSON, Avro, River) to raw rows."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec

from producers.cell_spellings import is_missing
from producers.cell_types import base64_bytes
from producers.rows import RawRow, SourceSpec, feature
from schemas.events import Features
from schemas.exact_integers import plain_decimal

_encode = msgspec.json.Encoder(enc_hook=repr, order="deterministic").encode


class RecordReader:
    """Splits a record into features and the columns that the spec names."""

    def __init__(self, spec: SourceSpec) -> None:
        self._named: Final = frozenset(spec.named)
        self._bytes: Final = frozenset(
            name for name, declared in spec.contract.features.items() if declared.type == "bytes"
        )
        numbers = {name for name, each in spec.contract.features.items() if each.type in {"number", "integer"}}
        if spec.label is not None and spec.label_type() == "number":
            numbers.add(spec.label)
        self._numbers: Final = frozenset(numbers)

    def __call__(self, line: int, record: dict[str, Any]) -> RawRow:
        """Return the raw row. Raises NotAValue if a value cannot be a feature."""
        features: Features = {}
        named: dict[str, object] = {}
        for name, value in record.items():
            if isinstance(value, str) and name in self._numbers and is_missing(value):
                value = None  # noqa: PLW2901 - "NA", as written by R, means missing in every kind of file
            if name in self._named:
                named[name] = _scalar(value)
            elif name in self._bytes and isinstance(value, str):
                features[name] = base64_bytes(value)
            else:
                features[name] = feature(name, _scalar(value))
        return RawRow(line, features, named, _encode(record))


def _scalar(value: Any) -> Any:
    """Convert Avro's logical types and NumPy's scalars to the types of features."""
    if isinstance(value, (Decimal, UUID)):
        return plain_decimal(value) if isinstance(value, Decimal) else str(value)
    if value is None or isinstance(value, (bool, int, float, str, bytes, list, dict, datetime, date)):
        return value
    return value.item() if hasattr(value, "item") else value
