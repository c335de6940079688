"""Inference of a text column's type, its style of numbers, and its spellings of missing values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from producers.cell_spellings import COMMA, GROUPED, Style, has_unit, is_date, is_missing
from producers.cell_types import WHOLE, Kind, kind_of, widest

_STYLES: Final[tuple[Style, ...]] = ("point", "grouped", "comma")
_SHOWN: Final = 3
_LEAST_NUMBERS: Final = 0.5  # share of cells; with fewer numbers, a text column gets no remark about them


class ColumnGuess:
    """Infers the common type of a column's cells, given one by one.

    Attributes
    ----------
    style
        The column's style of numbers; `settle` decides it for all columns of a file together.
    words
        Spellings of a missing value (``NA``, ``-``), with their counts; they count as missing only among numbers.

    >>> guess = ColumnGuess()
    >>> for cell in ("1", "2.5", "", "NA"):
    ...     guess.add(cell)
    >>> guess.kind, guess.missing
    ('number', {'NA': 1})
    """

    def __init__(self) -> None:
        self.style: Style = "point"
        self.words: Counter[str] = Counter()
        self._found: Kind | None = None
        self._cells = 0  # cells that are not missing
        self._whole = 0
        self._pointed = 0  # numbers such as 12.5
        self._longer = 0  # whole numbers beyond 64 bits, such as 12345678901234567890
        self._dotted = 0  # numbers such as 1.234, which is over a thousand if commas are decimal
        self._comma = 0  # numbers in no style but "comma"
        self._grouped = 0  # numbers in no style but "grouped"
        self._either = 0  # such as 1,234
        self._fractions: set[Style] = set()
        self._dates = 0
        self._with_unit = 0
        self._maybe_thousands = False
        self._others: dict[str, None] = {}
        self._examples: dict[Style, str] = {}
        self._number = ""  # the first cell that is a number

    def add(self, cell: str) -> None:
        """Add one cell."""
        text = cell.strip()
        if is_missing(text):
            if text:
                self.words[text] += 1
            return
        self._cells += 1
        kind = kind_of(text)
        assert kind is not None  # noqa: S101 - missing cells were handled above
        self._found = kind if self._found is None else widest(self._found, kind)
        if kind in {"integer", "number"}:
            self._number = self._number or text
        if kind == "integer":
            self._whole += 1
        elif kind == "number":
            self._pointed += 1
            self._longer += WHOLE.fullmatch(text) is not None
            self._dotted += COMMA.fullmatch(text) is not None
            self._fractions.add("grouped")
        elif kind != "string" or not self._add_styled(text):
            self._dates += is_date(text)
            with_unit = has_unit(text)
            self._with_unit += with_unit
            self._number = self._number or (text if with_unit else "")
            if len(self._others) < _SHOWN:
                self._others[text] = None

    def _add_styled(self, text: str) -> bool:
        """Count a text if it is a number of another style."""
        if not text[-1].isdigit() or len(text) > 40:
            return False
        comma, grouped = COMMA.fullmatch(text) is not None, GROUPED.fullmatch(text) is not None
        if not comma and not grouped:
            return False
        if comma and grouped:
            self._either += 1
        elif comma:
            self._comma += 1
        else:
            self._grouped += 1
        self._number = self._number or text
        for style, fits, mark in (("comma", comma, ","), ("grouped", grouped, ".")):
            if fits:
                self._examples.setdefault(style, text)  # type: ignore[arg-type]
                if mark in text:
                    self._fractions.add(style)  # type: ignore[arg-type]
        return True

    def fits(self, style: Style) -> int:
        """Return the number of cells that are numbers of a style."""
        if style == "point":
            return self._whole + self._pointed
        if style == "comma":
            return self._whole + self._dotted + self._either + self._comma
        return self._whole + self._pointed + self._either + self._grouped

    @property
    def surely(self) -> Style | None:
        """Return the style that some cell proves and no cell contradicts."""
        if self._comma and self.fits("comma") == self._cells:
            return "comma"
        return "grouped" if self._grouped and self.fits("grouped") == self._cells else None

    def choose(self, delimiter: str, others: Style | None) -> None:
        """Choose the style.

        Parameters
        ----------
        delimiter
            The file's delimiter. If it is a comma, decimal commas are not considered, because ``"1,2"`` may be a list.
        others
            The style of the file's other columns, for ambiguous cells such as ``1,234`` and ``1.234``.
        """
        may_be_comma = delimiter != ","
        if not (self._comma or self._grouped or self._either):
            dotted = self._dotted > 0 and self._dotted == self._pointed
            self.style = "comma" if dotted and may_be_comma and others == "comma" else "point"
            self._maybe_thousands = dotted and delimiter == ";" and self.style == "point"
            return
        styles = [style for style in _STYLES if may_be_comma or style != "comma"]
        best = max(map(self.fits, styles))
        fitting = [style for style in styles if self.fits(style) == best]
        if len(fitting) == 1 or fitting[0] == "point":
            self.style = fitting[0]
        elif others in fitting:
            self.style = others
        else:
            self.style = "comma" if delimiter == ";" else "point"
        if self._only_spaced:
            self.style = "point"

    @property
    def _only_spaced(self) -> bool:
        """Return whether the numbers look like telephone numbers: all in groups, none with a fraction."""
        groups = self._comma + self._grouped + self._either
        spaced = any(mark in text for text in self._examples.values() for mark in " '")
        return spaced and groups == self._cells and not self._fractions

    @property
    def long_ids(self) -> bool:
        """Return whether all numbers are whole and some exceed 64 bits: as doubles, different ids would be equal."""
        return self._found == "number" and self.style == "point" and 0 < self._longer == self._pointed

    @property
    def kind(self) -> Kind | None:
        """Return the narrowest type that fits all cells; `None` if every cell is missing."""
        if self.style != "point" and self.fits(self.style) == self._cells:
            return "number" if self.style in self._fractions else "integer"
        if self.long_ids:
            return "string"
        # "NA" means missing among numbers, but is a word among texts and booleans.
        return "string" if self.words and self._found in {"boolean", "vector"} else self._found

    @property
    def missing(self) -> dict[str, int]:
        """Return the spellings of missing values in this column, with their counts."""
        return dict(self.words) if self.kind in {"number", "integer"} else {}

    @property
    def dates(self) -> bool:
        """Return whether all cells are dates or times."""
        return 0 < self._cells == self._dates

    @property
    def hidden_numbers(self) -> str | None:
        """Return a text on cells that are numbers for people and texts for a model; `None` if few are, or codes.

        >>> guess = ColumnGuess()
        >>> for cell in ("12.5 €", "3 €", "n.v."):
        ...     guess.add(cell)
        >>> guess.hidden_numbers
        "2 of 3 cells, such as '12.5 €'"
        """
        count = self._with_unit + max(map(self.fits, _STYLES))
        codes = self.whole_only and self._only_digits
        if self.long_ids or codes or count <= _LEAST_NUMBERS * self._cells:
            return None
        return f"{count:,} of {self._cells:,} cells, such as {self._number!r:.40}"

    @property
    def whole_only(self) -> bool:
        """Return whether no cell has a fraction or a unit: such numbers may be codes."""
        return not (self._fractions or self._with_unit)

    @property
    def _only_digits(self) -> bool:
        return all(map(str.isdigit, self._others))

    @property
    def remark(self) -> str | None:
        """Return a sentence on a column that could be understood differently; `None` if it is clear."""
        if self.kind in {"number", "integer"}:
            return self._of_numbers()
        return self._of_texts() if self.kind == "string" else None

    def _of_numbers(self) -> str | None:
        if self.style != "point":
            mark = "a decimal comma" if self.style == "comma" else "separators between thousands"
            return f"numbers with {mark}, such as {self._examples.get(self.style, '1.234')!r}"
        if self._maybe_thousands:
            return "numbers with a decimal point: if it parts thousands, as in 1.234, write them without"
        return None

    def _of_texts(self) -> str | None:
        if self.long_ids:
            return "text, as it holds whole numbers beyond 64 bits, which a double would round"
        if self._with_unit == self._cells:
            example = next(iter(self._others))
            return f"text such as {example!r}: write the numbers alone, without a unit, if they are to count as numbers"
        numbers = max(map(self.fits, _STYLES))
        # Texts of only digits are codes, such as 00123.
        if numbers < _LEAST_NUMBERS * self._cells or (self._others and self._only_digits):
            return None
        if numbers == self._cells:
            example = next(iter(self._examples.values()))
            return (
                f"text such as {example!r}, which looks like numbers: write them with a decimal point and nothing "
                "between thousands, such as 1234.5"
            )
        if not self._others:
            return (
                f"text, as {self._cells - numbers:,} of {self._cells:,} cells are numbers in another notation than the "
                "rest: write all of them alike"
            )
        shown = ", ".join(map(repr, self._others))
        return (
            f"text, as {self._cells - numbers:,} of {self._cells:,} cells are no numbers ({shown}): leave those cells "
            "empty if they mean a missing value"
        )


def settle(guesses: Iterable[ColumnGuess], delimiter: str) -> None:
    """Choose the styles of numbers for all columns of a file together."""
    columns = list(guesses)
    sure = {style for guess in columns if (style := guess.surely) is not None}
    others = next(iter(sure)) if len(sure) == 1 else None
    for guess in columns:
        guess.choose(delimiter, others)
