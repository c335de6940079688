"""Delimiters, first lines, and quotes that take rows into a cell."""

from __future__ import annotations

from pathlib import Path

import pytest

from producers.file_formats import SourceRow, open_source
from producers.rows import BadRow, SourceError

ROWS = [("1.5", "2", "0"), ("2.5", "3", "1")] * 20


def write(folder: Path, text: str, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def read(path: Path) -> tuple[list[SourceRow], list[BadRow]]:
    bad: list[BadRow] = []
    return list(open_source(path).rows(bad.append)), bad


@pytest.mark.parametrize(
    ("name", "header", "delimiter", "columns"),
    [
        ("a.csv", "width;weight, net;label", ";", ["width", "weight, net", "label"]),
        ("a.csv", '"Width, m";"Weight, kg";label', ";", ["Width, m", "Weight, kg", "label"]),
        ("a.csv", "Width (m, outer);Weight (kg, net, dry);label", ";", ["Width (m, outer)", "Weight (kg, net, dry)"]),
        ("a.csv", "a|b;c;d;e|label", "|", ["a", "b;c;d;e", "label"]),
        ("a.csv", '"a;b;c;d",x,label', ",", ["a;b;c;d", "x", "label"]),
        ("a.tsv", "width, outer\tweight, net, dry\tlabel", "\t", ["width, outer", "weight, net, dry", "label"]),
        ("a.csv", "sep=;\na, b, c;d, e;label", ";", ["a, b, c", "d, e", "label"]),
        ("a.csv", "sep=:\na:b:label", ":", ["a", "b", "label"]),
    ],
)
def test_the_delimiter_is_the_one_that_fits_the_rows(
    tmp_path: Path, name: str, header: str, delimiter: str, columns: list[str]
) -> None:
    path = write(tmp_path, "\n".join([header, *map(delimiter.join, ROWS)]) + "\n", name)
    rows, bad = read(path)
    assert (len(rows), bad) == (40, [])
    assert open_source(path).columns()[: len(columns)] == columns
    assert open_source(path).count() == 40
    first = header.count("\n") + 2
    assert (list(rows[0].features.values()), rows[0].line) == ([1.5, 2], first)


def test_tabs_by_name_count_over_what_the_rows_could_be(tmp_path: Path) -> None:
    path = write(tmp_path, "a,b\tlabel\n1,2\t0\n3,4\t1\n", "a.tsv")
    assert open_source(path).columns() == ["a,b", "label"]


def test_a_file_of_a_sep_line_alone_is_empty(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is empty"):
        read(write(tmp_path, "sep=;\n"))


def test_lines_that_end_as_no_reader_of_lines_expects_are_said(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"x,label\r1,0\r2,1\r")
    with pytest.raises(SourceError, match="carriage return alone"):
        read(path)


@pytest.mark.parametrize(
    ("quotes", "opened", "last", "taken"),
    [
        ({40: '"pipe 5,'}, 42, 101, 60),  # to the end of the file
        ({40: '"pipe 5,', 70: '"pipe 8,'}, 42, 72, 31),  # to the next one, which breaks the row
        ({40: '"pipe 5,', 70: 'pipe 8",'}, 42, 72, 31),  # to one that makes a row of it again
        ({99: '"pipe 5,'}, 101, 101, 1),
    ],
)
def test_a_quote_that_takes_rows_says_which_and_they_are_counted(
    tmp_path: Path, quotes: dict[int, str], opened: int, last: int, taken: int
) -> None:
    text = "name,size,label\n" + "".join(f"{quotes.get(n, f'pipe {n},')}{n},{n % 2}\n" for n in range(100))
    rows, [bad] = read(write(tmp_path, text))
    assert (bad.line, bad.rows, len(rows) + bad.rows) == (opened, taken, 100)
    if taken > 1:
        assert f'line {opened}: a quote (") opens here and takes the lines up to {last} into one cell' in str(bad)


def test_a_quote_is_found_behind_a_cell_of_several_lines(tmp_path: Path) -> None:
    text = 'note,name,label\n"one\ntwo ""2""","pipe 5,1\nb,c,0\nd,e,1\n'
    _, [bad] = read(write(tmp_path, text))
    assert (bad.line, bad.rows) == (3, 4)


def test_a_row_of_several_lines_with_too_many_cells_says_how_far_it_runs(tmp_path: Path) -> None:
    _, [bad] = read(write(tmp_path, 'name,label\n"one\ntwo",1,2\nthree,0\n'))
    assert str(bad).endswith(
        'line 2: 3 columns; the header has 2; the row has quotes (") and runs to line 3 '
        "(a cell that holds commas, such as a decimal one, goes in quotes)"
    )


def test_texts_of_several_lines_stay_texts(tmp_path: Path) -> None:
    letter = "Dear Ann,\nthe pump, the pipe and the valve came.\n\nYours,\nBob, Eve\n(in haste)\nPS, more\n"
    path = write(tmp_path, f'letter,n,label\n"{letter}",1,0\n"{letter}",2,1\n')
    rows, bad = read(path)
    assert (bad, [row.features["letter"] for row in rows]) == ([], [letter, letter])


def test_a_line_that_is_not_utf8_does_not_spoil_the_next_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"t,label\na,1\n\xe9,b,1\nc,0\n")
    rows, bad = read(path)
    assert [row.features["t"] for row in rows] == ["a", "c"]
    assert [(each.line, each.reason) for each in bad] == [(3, "not UTF-8 (Latin-1, perhaps): save the file as UTF-8")]


def test_too_many_cells_between_commas_name_the_usual_reason(tmp_path: Path) -> None:
    _, bad = read(write(tmp_path, "price,label\n19,16,1\n2.5,0\n3.5,0\n"))
    assert "line 2: 3 columns; the header has 2 (a cell that holds commas" in str(bad[0])
