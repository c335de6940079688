"""`check --from` looks at the rows of a file, and `check` at what contradicts itself in a stream file."""

from __future__ import annotations

from pathlib import Path

import pytest
from user_files import forgetful

from millstream.check.check import check
from millstream.check.findings import Finding
from millstream.stream.load import load_stream

__all__ = ["forgetful"]

MODEL = "(compose.SelectType(int, float) | preprocessing.StandardScaler()) | linear_model.LogisticRegression()"
FILE = """
from river import compose, linear_model, preprocessing

from millstream import Feature, Stream, Validation

stream = Stream(name="mine", model=lambda: {model}, {keys})
"""


def found(folder: Path, keys: str, rows: list[str] | None = None, model: str = MODEL) -> list[Finding]:
    """Return the errors and warnings."""
    path = folder / "mine.py"
    path.write_text(FILE.format(model=model, keys=keys))
    place = None
    if rows is not None:
        place = str(folder / "data.csv")
        Path(place).write_text("\n".join(rows) + "\n")
    report = check(load_stream(str(path)), place=place)
    return [each for each in report.findings if each.severity != "ok"]


@pytest.mark.parametrize(
    ("features", "cell", "severity"),
    [
        ("", "{n}.5 €", "error"),
        ("", "{n}", None),
        ("", "c{n}", None),
        ('features={"x": "number", "price": "string"},', "{n}.5 €", "error"),
        ('features={"x": "number", "price": "string"},', "{n}", None),  # codes
        ('features={"x": "number"},', "{n}.5 €", None),  # dropped
    ],
)
def test_numbers_hidden_in_a_text_column_are_an_error(
    tmp_path: Path, features: str, cell: str, severity: str | None
) -> None:
    rows = ["x,price,label", *(f"{n},{cell.format(n=n)},{n % 2}" for n in range(120))]
    findings = [each for each in found(tmp_path, f'task="binary", {features}', rows) if "'price'" in each.text]
    assert [each.severity for each in findings] == ([] if severity is None else [severity])


@pytest.mark.parametrize(
    ("features", "severity"), [("", "error"), ('features={"x": "number", "age": "string"}', "warning")]
)
def test_words_among_numbers_are_an_error_unless_the_file_says_string(
    tmp_path: Path, features: str, severity: str
) -> None:
    rows = ["x,age,label", *(f"{n},{'unknown' if n % 9 == 0 else n},{n % 2}" for n in range(120))]
    (finding,) = found(tmp_path, f'task="binary", {features}', rows)
    assert (finding.severity, "'unknown'" in finding.text) == (severity, True)


def test_a_feature_that_no_row_has_and_a_single_label_are_said(tmp_path: Path) -> None:
    rows = ["x,label", *(f"{n},1" for n in range(80))]
    texts = [each.text for each in found(tmp_path, 'task="binary", features={"x": "number", "z": "number"}', rows)]
    assert any(text.endswith("has a value for 'z'") for text in texts)
    assert any("have the label True" in text for text in texts)


def test_rows_without_any_feature_are_an_error(tmp_path: Path) -> None:
    rows = ["x,label", *(f"{n},{n % 2}" for n in range(80))]
    findings = found(tmp_path, 'task="binary", features={"y": "number"}', rows)
    (error,) = [each for each in findings if each.severity == "error"]
    assert "has any of the features: 'y'" in error.text


def test_a_file_of_which_most_rows_are_refused_is_an_error(tmp_path: Path) -> None:
    rows = ["x,label", *(f"{n},{n % 2 if n % 4 == 0 else 'maybe'}" for n in range(200))]
    (error,) = [
        each for each in found(tmp_path, 'task="binary", features={"x": "number"}', rows) if each.severity == "error"
    ]
    assert error.text.startswith("150 of 200 rows are no events of this stream; the first: ")


@pytest.mark.parametrize(
    ("features", "keys", "text"),
    [
        ('Feature(type="number", minimum=3, maximum=1)', "", "minimum=3 is more than maximum=1"),
        ('Feature(type="integer", minimum=0.2, maximum=0.8)', "", "no whole number lies between"),
        ('Feature(type="number", categories=("x",))', "", "are no values of type='number'"),
        ('"number", "b": "number"', "validation=Validation(max_features=1)", "names 2 features"),
        ('"number"', 'classes=("only",), positive="only"', "has one class"),
        ('"number"', 'label="w", time="w"', "label='w' and time='w' name one column"),
    ],
)
def test_contradictions_in_the_stream_file_alone_are_errors(
    tmp_path: Path, features: str, keys: str, text: str
) -> None:
    findings = found(tmp_path, f'task="binary", features={{"a": {features}}}, {keys}')
    errors = [each.text for each in findings if each.severity == "error"]
    assert any(text in each for each in errors), errors


@pytest.mark.parametrize("key", ['classes=("a", "b")', "positive=1"])
def test_classes_of_a_regression_are_an_error(tmp_path: Path, key: str) -> None:
    model = MODEL.replace("Logistic", "Linear")
    (error,) = found(tmp_path, f'task="regression", features={{"a": "number"}}, {key}', model=model)
    assert error.severity == "error"
    assert "no meaning with task='regression'" in error.text
