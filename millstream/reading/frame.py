"""Data frames of records, built column by column in chunks.

A million records never exist as Python objects at once. pandas is an extra: ``pip install 'millstream[pandas]'``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from runtime.kafka_client.records import Record
from schemas import codec
from schemas.alerts import fields_of, read_alert_record
from schemas.codec import CodecError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_CHUNK: Final = 2_000
_EXACT: Final = 1 << 53  # doubles hold every whole number up to here
_MOST_WORDS: Final = 20_000
_NO_TIME: Final = -(1 << 63)  # numpy's NaT

Kind: TypeAlias = Literal["plain", "time", "category"]
Values: TypeAlias = list[Any]
OnUnreadable: TypeAlias = Callable[[Record, CodecError], None]


class NoPandas(ImportError):  # noqa: N818
    """pandas is not installed."""


class _Field(NamedTuple):
    """A column: its name in the frame, the part of the record, and the field in it."""

    name: str
    part: str
    field: str
    kind: Kind = "plain"


class Layout(NamedTuple):
    """The columns of a kind of record.

    Attributes
    ----------
    decode
        Returns the fields of a record. Raises CodecError.
    parts
        Names of the records inside the record; the record itself is "".
    maps
        (name, part, field) of maps by name, each key of which is a column: features, probabilities.
    """

    decode: Callable[[bytes], dict[str, Any]]
    parts: tuple[str, ...]
    fields: tuple[_Field, ...]
    maps: tuple[tuple[str, str, str], ...] = ()


def _alert(data: bytes) -> dict[str, Any]:
    return fields_of(read_alert_record(data))


_EVENT: Final = (
    _Field("event_id", "event", "event_id"),
    _Field("event_time", "event", "event_time", "time"),
    _Field("entity_key", "event", "entity_key"),
)
_LABEL: Final = (
    _Field("label", "label", "value"),
    _Field("weight", "label", "weight"),
    _Field("label_time", "label", "label_time", "time"),
    _Field("label_source", "label", "source", "category"),
    _Field("kind", "label", "kind", "category"),
)
_OUTCOME: Final = (
    _Field("prediction", "outcome", "prediction"),
    _Field("version", "outcome", "version", "category"),
    _Field("predicted_at", "outcome", "predicted_at", "time"),
)
_LANE: Final = (
    _Field("lane", "lane", "name", "category"),
    _Field("lane_epoch", "lane", "epoch", "category"),
    _Field("sequence", "lane", "sequence"),
)
_ERROR: Final = (
    _Field("status", "outcome", "status", "category"),
    _Field("error.code", "error", "code", "category"),
    _Field("error.message", "error", "message"),
)
_MAPS: Final = (("probabilities.", "outcome", "probabilities"), ("features.", "event", "features"))
LAYOUTS: Final[Mapping[str, Layout]] = {
    "examples": Layout(
        codec.EXAMPLE.decode, ("event", "label", "outcome", "lane"), (*_EVENT, *_LABEL, *_OUTCOME, *_LANE), _MAPS
    ),
    "predictions": Layout(codec.PREDICTION.decode, ("event", "outcome"), (*_EVENT, *_OUTCOME, *_ERROR), _MAPS),
    "dead-letters": Layout(
        codec.DEAD_LETTER.decode,
        (),
        (
            _Field("stage", "", "stage", "category"),
            _Field("code", "", "code", "category"),
            _Field("reason", "", "reason"),
            _Field("from.topic", "", "topic", "category"),
            _Field("from.partition", "", "partition"),
            _Field("from.offset", "", "offset"),
            _Field("from.timestamp", "", "timestamp", "time"),
            _Field("key", "", "key"),
            _Field("value", "", "value"),
            _Field("at", "", "at", "time"),
        ),
    ),
    "alerts": Layout(
        _alert,
        (),
        (
            _Field("name", "", "name", "category"),
            _Field("severity", "", "severity", "category"),
            _Field("state", "", "state", "category"),
            _Field("message", "", "message"),
            _Field("at", "", "at", "time"),
        ),
        (("details.", "", "details"),),
    ),
}


def frame(records: Iterable[Record], kind: str, prefix: str, unreadable: OnUnreadable) -> pd.DataFrame:
    """Return records as a data frame.

    Parameters
    ----------
    kind
        A key of `LAYOUTS`.
    prefix
        Text before the name of each feature in the name of its column.
    unreadable
        Called with each record that cannot be read; it is left out.

    Raises
    ------
    NoPandas
        If pandas is not installed.
    ValueError
        If a feature has the name of another column.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise NoPandas("to_pandas() needs pandas: pip install 'millstream[pandas]'") from error
    layout = LAYOUTS[kind]
    builder = _Builder(layout, prefix)
    each = iter(records)
    while chunk := list(islice(each, _CHUNK)):
        builder.add(chunk, unreadable)
    return builder.frame(pd)


class _Builder:
    def __init__(self, layout: Layout, prefix: str) -> None:
        self._layout = layout
        self._prefix = prefix
        self._rows = 0
        self._fixed: dict[str, _Column] = {name: _Column("plain") for name in ("partition", "offset")}
        self._fixed["timestamp"] = _Column("time")
        self._fixed |= {each.name: _Column(each.kind) for each in layout.fields}
        self._maps: list[dict[str, _Column]] = [{} for _ in layout.maps]

    def add(self, records: Sequence[Record], unreadable: OnUnreadable) -> None:
        decode = self._layout.decode
        found: list[dict[str, Any]] = []
        places: list[Record] = []
        for record in records:
            try:
                found.append(decode(record.value or b""))
            except CodecError as error:
                unreadable(record, error)
            else:
                places.append(record)
        for name in ("partition", "offset", "timestamp"):
            self._fixed[name].add([getattr(record, name) for record in places])
        parts = _parts(found, self._layout)
        for field in self._layout.fields:
            of = field.field
            self._fixed[field.name].add([part.get(of) for part in parts[field.part]])
        for columns, (_, part, of) in zip(self._maps, self._layout.maps, strict=True):
            self._add_maps(columns, [each.get(of) or {} for each in parts[part]])
        self._rows += len(found)

    def _add_maps(self, columns: dict[str, _Column], maps: list[dict[str, Any]]) -> None:
        known = columns.keys()
        for each in maps:
            if not each.keys() <= known:
                for name in each:
                    if name not in known:
                        columns[name] = _Column("plain")
                        columns[name].add([None] * self._rows)
        for name, column in columns.items():
            column.add([each.get(name) for each in maps])

    def frame(self, pd: Any) -> pd.DataFrame:
        named = dict(self._fixed)
        for columns, (prefix, _, of) in zip(self._maps, self._layout.maps, strict=True):
            before = self._prefix if of == "features" else prefix
            for name, column in columns.items():
                if before + name in named:
                    raise ValueError(
                        f"feature {name!r} has the name of another column: choose another prefix, such as "
                        "to_pandas(prefix='x.')"
                    )
                named[before + name] = column
        self._maps, self._fixed = [], {}
        # Each column's chunks go as soon as it is whole, and none is copied into a block with others.
        whole = {}
        while named:
            name = next(iter(named))
            whole[name] = named.pop(name).series(pd)
        return pd.DataFrame(whole, copy=False)


def _parts(found: list[dict[str, Any]], layout: Layout) -> dict[str, Values]:
    """Return, by name, the records inside each record; an empty one where there is none."""
    nothing: dict[str, Any] = {}
    parts: dict[str, Values] = {"": found}
    for name in layout.parts:
        parts[name] = [each[name] or nothing for each in found]
    if "outcome" in parts:
        parts["error"] = [each.get("error") or nothing for each in parts["outcome"]]
        for each in parts["outcome"]:
            if each and each["epoch"] >= 0:
                each["version"] = f"{each['epoch']}/{each['examples']}"
    return parts


class _Column:
    """A column that grows by chunks, each as an array of the narrowest type that holds its values exactly."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._chunks: list[np.ndarray[Any, Any]] = []
        self._types: set[type] = set()
        self._large = False
        self._words: dict[Any, Any] = {}

    def add(self, values: Values) -> None:
        import numpy as np

        types = set(map(type, values))
        self._types |= types
        if self._kind == "category":
            self._chunks.append(self._codes(values))
            return
        if self._kind == "time":
            self._chunks.append(np.array([_NO_TIME if each is None else each for each in values], dtype=np.int64))
            return
        if types == {float} or types == {float, type(None)}:
            self._chunks.append(np.array(values, dtype=np.float64))
        elif types == {int}:
            chunk = np.array(values, dtype=np.int64)
            self._large = self._large or bool(chunk.max() > _EXACT or chunk.min() < -_EXACT)
            self._chunks.append(chunk)
        elif types == {bool}:
            self._chunks.append(np.array(values, dtype=np.bool_))
        elif types == {type(None)}:
            self._chunks.append(np.full(len(values), None))
        else:
            self._large = self._large or any(type(each) is int and abs(each) > _EXACT for each in values)
            self._chunks.append(self._objects(values, types))

    def _codes(self, values: Values) -> np.ndarray[Any, Any]:
        import numpy as np

        words = self._words
        codes = [-1 if each is None else words.setdefault(each, len(words)) for each in values]
        return np.array(codes, dtype=np.int32)

    def _objects(self, values: Values, types: set[type]) -> np.ndarray[Any, Any]:
        import numpy as np

        if str in types and len(self._words) < _MOST_WORDS:
            # A word that comes again and again is one object.
            words = self._words
            values = [words.setdefault(each, each) if each.__class__ is str else each for each in values]
        chunk = np.empty(len(values), dtype=object)
        chunk[:] = values
        return chunk

    def series(self, pd: Any) -> Any:
        """Return the whole column; its chunks are gone afterwards."""
        import numpy as np

        chunks, self._chunks = self._chunks, []
        if self._kind == "category":
            codes = np.concatenate(chunks) if chunks else np.array([], dtype=np.int32)
            return pd.Series(pd.Categorical.from_codes(codes, categories=list(self._words)), copy=False)
        if self._kind == "time":
            times = _joined(chunks, "int64").view("datetime64[ms]")
            return pd.Series(times, copy=False).dt.tz_localize("UTC")
        known = self._types - {type(None)}
        dtype = self._dtype(known)
        if known == {str}:
            return pd.Series(_joined(chunks, object), copy=False, dtype=object).infer_objects()
        return pd.Series(_joined(chunks, dtype), dtype=dtype, copy=False)

    def _dtype(self, known: set[type]) -> Any:
        gaps = type(None) in self._types
        if known == {float} or (known == {float, int} and not self._large):
            return "float64"
        if known == {int}:
            return "Int64" if gaps else "int64"
        if known == {bool}:
            return "boolean" if gaps else "bool"
        return object


def _joined(chunks: list[np.ndarray[Any, Any]], dtype: Any) -> Any:
    import numpy as np

    if not chunks:
        return np.array([], dtype="int64" if dtype == "int64" else object)
    nullable = dtype in ("Int64", "boolean")
    wanted = object if nullable else dtype
    return np.concatenate([chunk if chunk.dtype == wanted else chunk.astype(wanted) for chunk in chunks])
