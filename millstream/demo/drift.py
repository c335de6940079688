"""Demo of drift: data that changes halfway, and what was found and done about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from producers.file_formats import RowSource
from producers.rows import OnBad, RawRow

FEATURE: Final = "1"
_ADDED: Final = 1.5  # about one and a half standard deviations of this feature


class DriftingRows(RowSource):
    """Rows of another source; from the middle on, a number feature is larger."""

    def __init__(self, rows: RowSource, feature: str = FEATURE, added: float = _ADDED) -> None:
        super().__init__(rows.name, rows.stem, rows.spec)
        self.unit = rows.unit
        self._rows, self._feature, self._added = rows, feature, added

    @property
    def middle(self) -> int:
        """Number of rows before the change."""
        return (self._rows.count() or 0) // 2

    def raw_rows(self, on_bad: OnBad) -> Iterator[RawRow]:
        middle = self.middle
        for number, row in enumerate(self._rows.raw_rows(on_bad)):
            yield row if number < middle else self._moved(row)

    def _moved(self, row: RawRow) -> RawRow:
        value = row.features.get(self._feature)
        if not isinstance(value, (int, float)):
            return row
        return msgspec.structs.replace(row, features={**row.features, self._feature: value + self._added})

    def columns(self) -> list[str]:
        return self._rows.columns()

    def count(self) -> int | None:
        return self._rows.count()

    def sha256(self) -> str:
        return self._rows.sha256()
