"""Reports: findings, and the forms in which they can be shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from millstream.evaluation.chart import draw
from millstream.evaluation.findings import Findings, Result
from millstream.evaluation.output_file import write_whole
from millstream.evaluation.page import body, page
from millstream.evaluation.text import Words, text, words


class Shown(Findings, frozen=True):
    """Findings that print as tables, and show as a page in a notebook."""

    def words(self) -> Words:
        """Return the findings as headings, tables and remarks."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain dictionaries and lists, as `--json` prints it."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def result(self, name: str) -> Result:
        """Return one result by its name. Raises KeyError."""
        for each in self.results:
            if each.name == name:
                return each
        raise KeyError(f"{name!r}; there are: {', '.join(each.name for each in self.results)}")

    def png(self, path: str | Path) -> Path:
        """Draw the learning curves to a PNG file; needs the extra `plot`. Raises NotWritten, NoLibrary."""
        target = Path(path)
        write_whole(target, draw(self))
        return target

    def html(self, path: str | Path) -> Path:
        """Write a page with tables and learning curves, which needs nothing beside it. Raises NotWritten."""
        target = Path(path)
        write_whole(target, page(self, self.words()).encode())
        return target

    def _repr_html_(self) -> str:
        """Return the report as a notebook shows it."""
        return body(self, self.words())

    def __str__(self) -> str:
        return text(self.words())


class Report(Shown, frozen=True):
    """Report of an evaluation."""

    def words(self) -> Words:
        return words(self)
