"""Rows from the data sets that come with River."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from producers.cell_types import NotAValue
from producers.rows import OnBad, RawRow, RowSource, SourceError, SourceSpec
from producers.typed_rows import RecordReader

PREFIX: Final = "river:"
DEFAULT_LABEL: Final = "label"


class RiverData(RowSource):
    """One of River's own data sets, such as ``river:Phishing``. Its target is the label, whatever its name.

    Raises
    ------
    SourceError
        If there is no set of that name, it must be downloaded, or it has several outputs.
    """

    unit = "row"

    def __init__(self, name: str, spec: SourceSpec) -> None:
        short = name.removeprefix(PREFIX)
        self._set = _data_set(short)
        super().__init__(name, type(self._set).__name__, spec)
        self._read = RecordReader(spec)

    def columns(self) -> list[str]:
        """Return the features' names, with the label's last."""
        return [*self._rows()[0][0], self.spec.label or DEFAULT_LABEL]

    def count(self) -> int | None:
        count: int | None = self._set.n_samples
        return count

    def sha256(self) -> str:
        return hashlib.sha256(Path(self._set.path).read_bytes()).hexdigest()

    def _rows(self) -> list[tuple[dict[str, Any], Any]]:
        # River closes the file only after all of it is read; the largest set has 49,097 rows.
        return list(self._set)

    def raw_rows(self, on_bad: OnBad) -> Iterator[RawRow]:
        rows = self._rows()
        label = self.spec.label
        if label in rows[0][0]:
            raise SourceError(f"{self.name}: {label!r} is one of its features; its label has no name, give it another")
        self.require_columns([*rows[0][0], *([label] if label else [])])
        for number, (features, target) in enumerate(rows, start=1):
            record = {**features, label: target} if label else features
            try:
                yield self._read(number, record)
            except NotAValue as error:
                on_bad(self.bad(number, str(error)))


def _data_set(short: str) -> Any:
    from river import datasets
    from river.datasets.base import FileDataset, RemoteDataset

    known = {name.lower(): getattr(datasets, name) for name in datasets.__all__}
    known = {
        name: kind
        for name, kind in known.items()
        if inspect.isclass(kind) and issubclass(kind, FileDataset) and not inspect.isabstract(kind)
    }
    kind = known.get(short.lower())
    bundled = sorted(
        each.__name__ for each in known.values() if not issubclass(each, RemoteDataset) and _has_one_output(each())
    )
    there = f"these come with River: {', '.join(bundled)}"
    if kind is None:
        raise SourceError(f"river:{short} is no data set of River; {there}")
    if issubclass(kind, RemoteDataset):
        raise SourceError(
            f"river:{kind.__name__} has to be downloaded, which Millstream does not do: "
            f"download it yourself and give the file instead; {there}"
        )
    found = kind()
    if not _has_one_output(found):
        raise SourceError(f"river:{kind.__name__} has several outputs: streams predict one; {there}")
    return found


def _has_one_output(found: Any) -> bool:
    return not found.task.startswith("Multi-output")
