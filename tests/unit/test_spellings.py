"""Missing values, numbers and dates as people write them: told by column, the same in `init` and `publish`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from producers.column_guess import ColumnGuess, settle
from producers.file_formats import SourceSpec, open_source
from producers.infer import infer
from producers.rows import BadRow
from schemas.contract import Contract, Feature
from schemas.target import Target

WORDS = ("", "NA", "n/a", "null", "NULL", "NaN", "None", "-", "--", ".", "?", "#N/A", "\\N")


def guess(cells: Sequence[str], delimiter: str = ",") -> ColumnGuess:
    found = ColumnGuess()
    for cell in cells:
        found.add(cell)
    settle([found], delimiter)
    return found


def write(folder: Path, text: str, name: str = "data.csv") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


@pytest.mark.parametrize("word", WORDS)
def test_a_spelling_of_a_missing_value_counts_among_numbers_by_looks_by_contract_and_in_init(
    tmp_path: Path, word: str
) -> None:
    place = write(tmp_path, "ozone,label\n" + "".join(f"{word if n % 5 == 2 else n},{n % 2}\n" for n in range(40)))
    found = infer(place)
    assert (found.columns[0].type, found.columns[0].missing) == ("integer", 8)
    assert found.notes == ((f"ozone: {word!r} (8 rows) taken as a missing value",) if word else ())
    contract = Contract(features={"ozone": Feature(type="integer")})
    for spec in (SourceSpec(), SourceSpec(contract=contract)):
        values = [row.features["ozone"] for row in open_source(place, spec).rows()]
        assert values == [None if n % 5 == 2 else n for n in range(40)]


def test_in_a_column_of_texts_such_a_word_is_a_category(tmp_path: Path) -> None:
    text = "country,sign,label\n" + "".join(f"{('NA', 'ZA', 'BW')[n % 3]},{'+-'[n % 2]},{n % 2}\n" for n in range(60))
    place = write(tmp_path, text)
    found = infer(place)
    assert [(each.name, each.categories, each.missing, each.remark) for each in found.columns] == [
        ("country", ("BW", "NA", "ZA"), 0, None),
        ("sign", ("+", "-"), 0, None),
    ]
    assert [row.features["country"] for row in open_source(place).rows()][:3] == ["NA", "ZA", "BW"]
    assert infer(place, label="sign").positive in ("+", "-")
    assert {row.label for row in open_source(place, SourceSpec(label="sign")).rows()} == {"+", "-"}


def test_a_label_that_is_always_a_dash_is_a_label(tmp_path: Path) -> None:
    place = write(tmp_path, "x,label\n1,-\n2,-\n")
    assert [row.label for row in open_source(place).rows()] == ["-", "-"]


def test_json_files_mean_the_same_by_these_words(tmp_path: Path) -> None:
    lines = [{"x": "NA" if n % 4 == 1 else n / 2, "t": "NA" if n % 4 else "DE", "y": n} for n in range(40)]
    place = write(tmp_path, "\n".join(map(json.dumps, lines)), "data.jsonl")
    x, t = infer(place, label="y").columns
    assert (x.type, x.missing, x.remark) == ("number", 10, "'NA' (10 rows) taken as a missing value")
    assert (t.type, t.missing, t.categories) == ("string", 0, ("DE", "NA"))
    contract = Contract(features={"x": Feature(type="number"), "t": Feature(type="string")})
    rows = list(open_source(place, SourceSpec(label="y", contract=contract)).rows())
    assert rows[1].features == {"x": None, "t": "NA"}


@pytest.mark.parametrize(
    ("delimiter", "cells", "kind", "style"),
    [
        (";", ["19,16", "7", "0,5"], "number", "comma"),
        (";", ["1.234,50", "12,5", "-3"], "number", "comma"),
        (";", ["1.234.567", "1.234"], "integer", "comma"),
        (";", ["1,234", "12,500"], "number", "comma"),
        ("\t", ["19,16", "NA"], "number", "comma"),
        (",", ["1,234.50", "12.5", "7"], "number", "grouped"),
        (",", ["1,234,567", "999"], "integer", "grouped"),
        (",", ["1,234", "12,500"], "integer", "grouped"),
        (";", ["1 234,50", "12,5"], "number", "comma"),
        (";", ["1'234.50", "12.5"], "number", "grouped"),
        (";", ["1.234", "2.5"], "number", "point"),
        (",", ["1,2", "3,45"], "string", "point"),  # a list, perhaps
        ("\t", ["1,234", "12,500"], "string", "point"),  # could be either
        (";", ["19,16", "a lot"], "string", None),
        (",", ["555 123 456", "555 123 457"], "string", "point"),  # telephones
        (",", ["007", "123"], "string", "point"),
    ],
)
def test_how_numbers_are_written_is_told_by_the_column(
    delimiter: str, cells: list[str], kind: str, style: str | None
) -> None:
    found = guess(cells, delimiter)
    assert found.kind == kind
    if style is not None:
        assert found.style == style


def test_decimal_commas_are_read_and_other_columns_tell_of_thousands(tmp_path: Path) -> None:
    rows = "".join(f"{n},5;{n + 1}.000;{n};{n % 2}\n" for n in range(1, 30))
    place = write(tmp_path, "price;units;n;label\n" + rows)
    found = infer(place)
    assert [(each.name, each.type) for each in found.columns] == [
        ("price", "number"), ("units", "integer"), ("n", "integer"),
    ]  # fmt: skip
    assert found.notes == (
        "price: numbers with a decimal comma, such as '1,5'",
        "units: numbers with a decimal comma, such as '1.234'",
    )
    contract = Contract(features={each.name: Feature(type=each.type) for each in found.columns})
    for spec in (SourceSpec(), SourceSpec(contract=contract)):
        assert next(open_source(place, spec).rows()).features == {"price": 1.5, "units": 2000, "n": 1}


def test_a_cell_written_otherwise_than_its_column_is_refused_with_its_line(tmp_path: Path) -> None:
    cells = "".join(f"{n},5;1\n" for n in range(10_000))
    place = write(tmp_path, f"price;label\n{cells}12.5;0\n")
    with pytest.raises(BadRow, match=r"line 10002: column 'price': '12.5' is not a number with a decimal comma"):
        list(open_source(place).rows())


def test_numbers_that_are_not_recognised_are_refused_with_the_way_out(tmp_path: Path) -> None:
    place = write(tmp_path, 'price,label\n"19,16",1\n"2,5",0\n')
    spec = SourceSpec(contract=Contract(features={"price": Feature(type="number")}))
    with pytest.raises(BadRow, match=r"line 2: column 'price': '19,16' is not a number .* with a decimal point"):
        list(open_source(place, spec).rows())
    assert "looks like numbers" in str(infer(place).notes)


def test_what_makes_a_text_of_numbers_is_said(tmp_path: Path) -> None:
    place = write(tmp_path, "x,label\n" + "".join(f"{'n.d.' if n == 7 else n},{n % 2}\n" for n in range(40)))
    found = infer(place)
    assert found.columns[0].type == "string"
    assert "x: text, as 1 of 40 cells are no numbers ('n.d.')" in found.notes[0]


@pytest.mark.parametrize(
    ("delimiter", "cells", "said"),
    [
        (",", ["$1,234.50", "$3"], "write the numbers alone, without a unit"),
        (",", ["12 %", "7.5 %"], "write the numbers alone, without a unit"),
        (";", ["1.234", "999", "12.500"], "if it parts thousands"),
        (";", ["1.234", "999", "12.5"], None),
        (",", ["1.234", "999"], None),
        (",", ["red", "blue", "12"], None),
        (",", ["00123", "12345"], None),
    ],
)
def test_columns_that_another_reader_would_read_otherwise_are_said(
    delimiter: str, cells: list[str], said: str | None
) -> None:
    remark = guess(cells, delimiter).remark
    assert remark is None if said is None else remark is not None and said in remark


@pytest.mark.parametrize(
    "day", ["2026-01-{n:02}", "{n}.1.2026 12:30", "1/{n}/2026", "Jan {n}, 2026", "2026-01-{n:02}T00:00:00Z"]
)
def test_dates_are_left_out_of_the_features_and_said(tmp_path: Path, day: str) -> None:
    rows = "".join(f'"{day.format(n=n % 28 + 1)}",{n},{n % 2}\n' for n in range(60))
    found = infer(write(tmp_path, "ordered,x,label\n" + rows))
    assert [column.name for column in found.columns] == ["x"]
    assert list(found.left_out) == ["ordered"]
    assert found.notes[0].startswith("ordered: left out, as it holds dates or times")


def test_a_label_of_numbers_that_is_missing_is_no_label_yet(tmp_path: Path) -> None:
    spec = SourceSpec(target=Target(task="regression"))
    csv_rows = open_source(write(tmp_path, "x,label\n1,NA\n2,2.5\n"), spec).rows()
    json_rows = open_source(write(tmp_path, '{"x":1,"label":"NA"}\n{"x":2,"label":2.5}', "a.jsonl"), spec).rows()
    assert [row.label for row in csv_rows] == [row.label for row in json_rows] == [None, 2.5]
