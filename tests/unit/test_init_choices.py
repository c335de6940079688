"""`init` says what it took for label, task, id and time, and why; options correct it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from user_files import forgetful

from millstream.cli.app import run
from millstream.stream.load import load_stream
from producers.infer import Inferred, infer
from producers.rows import SourceError

__all__ = ["forgetful"]

Cells = Callable[[int], str]


def write(folder: Path, head: str, cells: Cells, rows: int = 60) -> str:
    path = folder / "data.csv"
    path.write_text("\n".join([head, *map(cells, range(rows))]) + "\n")
    return str(path)


def said(found: Inferred) -> dict[str, str]:
    return {choice.what: str(choice) for choice in found.choices}


def test_each_choice_has_its_reason_and_the_values_seen(tmp_path: Path) -> None:
    place = write(
        tmp_path, "order_id,at,x,churned", lambda n: f"o{n},2026-01-01T00:{n:02},{n},{'yes' if n < 9 else 'no'}"
    )
    assert said(infer(place)) == {
        "label": "label: churned (last column with 2 values: no 51, yes 9)",
        "task": "task: binary (2 values)",
        "id": "id: order_id (named like an id, and 60 rows have 60 values)",
        "time": "time: at (named like a time)",
    }


def test_the_choices_are_comments_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    write(tmp_path, "x,churned", lambda n: f"{n},{'yes' if n < 9 else 'no'}")
    monkeypatch.chdir(tmp_path)
    assert run(["init", "mine", "--from", "data.csv"]) == 0
    assert "label: churned (last column with 2 values: no 51, yes 9)" in capsys.readouterr().out.splitlines()
    text = Path("mine.py").read_text()
    assert "    # Last column with 2 values: no 51, yes 9.\n" in text
    assert "    # No id=: no column is named like an id and has no value twice\n" in text
    assert run(["init", "again", "--from", "data.csv", "--task", "multiclass", "--json"]) == 0
    choices = {each["what"]: each for each in json.loads(capsys.readouterr().out)["choices"]}
    assert choices["task"] == {"what": "task", "taken": "multiclass", "why": "--task", "seen": ""}
    stream = load_stream("again.py").stream
    assert (stream.task, stream.classes) == ("multiclass", ("no", "yes"))


@pytest.mark.parametrize(
    ("labels", "guess", "note"),
    [
        (["Yes", "yes", "No"], ("binary", None, None), "label: 'Yes' (20 rows), 'yes' (20 rows) differ only"),
        (["Yes", "yes", "No"], ("binary", None, None), "they are read as one class"),
        (["1", "1.0", "0"], ("binary", None, None), "label: '1' (20 rows), '1.0' (20 rows) differ only"),
        (["1", "1.0", "0"], ("binary", None, None), "they are read as one class"),
        (["Fraud", "fraud", "good"], ("multiclass", None, ("Fraud", "fraud", "good")), "they are classes of their own"),
        (["a", "a.", "b"], ("multiclass", None, ("a", "a.", "b")), "they are classes of their own"),
        (["a", " a", "b"], ("binary", "b", ("a", "b")), None),
        (["1.0", "2.0", "3.0"], ("multiclass", None, (1, 2, 3)), None),
    ],
)
def test_classes_that_differ_only_in_spelling_are_said(
    tmp_path: Path, labels: list[str], guess: object, note: str | None
) -> None:
    found = infer(write(tmp_path, "x,label", lambda n: f"{n},{labels[n % 3]}", rows=60))
    assert (found.task, found.positive, found.classes) == guess
    notes = [each for each in found.notes if "spelling" in each]
    assert len(notes) == (note is not None)
    assert note is None or note in notes[0]


def test_a_given_task_decides_how_the_labels_are_taken(tmp_path: Path) -> None:
    stars = write(tmp_path, "x,label", lambda n: f"{n},{n % 5}", rows=200)
    assert infer(stars).task == "multiclass"
    assert infer(stars, task="regression").classes is None
    with pytest.raises(SourceError, match=r"--task binary: the label has 5 values \(0 40, .*two are possible"):
        infer(stars, task="binary")
    words = write(tmp_path, "x,label", lambda n: f"{n},{['Fraud', 'fraud', 'good'][n % 3]}")
    found = infer(words, task="binary")
    assert (found.positive, found.classes) == ("Fraud", ("Fraud", "good"))
    assert "the stream refuses all but one of them" in found.notes[0]
    with pytest.raises(SourceError, match="--task regression: the label is Fraud in some rows"):
        infer(words, task="regression")


def test_the_time_may_be_the_one_column_whose_times_never_fall(tmp_path: Path) -> None:
    place = write(
        tmp_path,
        "Datum,Geburt,x,y",
        lambda n: f"{n % 28 + 1:02}.{n // 28 + 1:02}.2026 08:00,{n % 28 + 1}.2.1999,{n},{n % 2}",
    )
    found = infer(place)
    assert (found.time, list(found.left_out)) == ("Datum", ["Geburt"])
    assert [column.name for column in found.columns] == ["x"]
    assert infer(place, time="Geburt").time == "Geburt"
    none = infer(place, time="none")
    assert (none.time, said(none)["time"]) == (None, "time: none (--time none)")


def test_a_last_column_that_can_be_no_label_is_not_taken(tmp_path: Path) -> None:
    place = write(tmp_path, "x,won,comment", lambda n: f"{n},{'ab'[n % 2]},text number {n} of all", rows=60)
    found = infer(place)
    assert found.label == "won"
    assert said(found)["label"].startswith(
        "label: won (last column, as comment holds too many different values, with 2"
    )
    assert infer(place, label="x").label == "x"


def test_columns_without_information_are_left_out(tmp_path: Path) -> None:
    def row(n: int) -> str:
        price, age = f"{n}.50 €", "unknown" if n % 9 == 0 else n
        return f"{n + 1},EUR,{price},{age},{n % 7},{'x' if n % 2 else ''},{n % 2}"

    found = infer(write(tmp_path, "index,currency,price,age,n,flag,label", row, rows=100))
    assert [column.name for column in found.columns] == ["n", "flag"]
    assert found.left_out["index"] == "the number of the row"
    assert found.left_out["currency"] == "one value, 'EUR', in all 100 rows"
    assert found.left_out["price"].startswith("text such as '0.50 €': write the numbers alone")
    assert found.left_out["age"].startswith("text, as 12 of 100 cells are no numbers ('unknown')")


def test_a_rare_class_gets_a_model_that_beats_the_frequencies(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    def row(n: int) -> str:
        rare = n % 50 == 49
        return f"{n * 7 % 5 + 4 * rare},{n % 7},{'yes' if rare else 'no'}"

    write(tmp_path, "x,y,label", row, rows=1500)
    monkeypatch.chdir(tmp_path)
    assert run(["init", "mine", "--from", "data.csv"]) == 0
    assert "note: the model: log loss 0." in capsys.readouterr().out
    assert "dummy." not in Path("mine.py").read_text()
