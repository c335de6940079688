"""What a file shows of its columns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from producers.columns import Column
from producers.file_formats import SourceError, SourceSpec, open_source
from producers.infer import infer
from schemas.contract import Contract, Feature
from schemas.target import Target


def by_name(columns: tuple[Column, ...]) -> dict[str, Column]:
    return {column.name: column for column in columns}


def write(folder: Path, text: str, name: str = "data.csv") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_columns_have_type_presence_and_what_was_seen(tmp_path: Path) -> None:
    rows = [f"u{n},{n},{n / 2},{'red' if n % 2 else 'blue'},{'true' if n % 3 else ''},,{n % 2}" for n in range(40)]
    found = infer(write(tmp_path, "\n".join(["id,n,x,colour,flag,nothing,label", *rows])))
    columns = by_name(found.columns)
    assert columns["n"] == Column(
        name="n", type="integer", required=True, missing=0, distinct=40, minimum=0, maximum=39
    )
    assert (columns["x"].type, columns["x"].maximum) == ("number", 19.5)
    assert (columns["colour"].type, columns["colour"].categories) == ("string", ("blue", "red"))
    assert (columns["flag"].type, columns["flag"].required, columns["flag"].missing) == ("boolean", False, 14)
    assert (found.label, found.id, found.time, found.empty, found.rows) == ("label", "id", None, ("nothing",), 40)
    assert "id" not in columns


def test_a_column_that_is_named_like_an_id_and_never_repeats_is_the_id(tmp_path: Path) -> None:
    rows = [f"o{n},c{n % 5},{n},{n % 2}" for n in range(40)]
    found = infer(write(tmp_path, "\n".join(["order_id,customer_id,n,label", *rows])))
    assert found.id == "order_id"
    assert [column.name for column in found.columns] == ["customer_id", "n"]


@pytest.mark.parametrize(
    ("labels", "task", "positive", "classes"),
    [
        (["0", "1"], "binary", None, None),
        (["true", "false"], "binary", None, None),
        (["Yes", "no"], "binary", None, None),
        (["ham", "spam"], "binary", "spam", ("ham", "spam")),
        (["left", "right"], "binary", "right", ("left", "right")),
        (["1", "2"], "binary", 2, (1, 2)),
        (["a", "b", "c"], "multiclass", None, ("a", "b", "c")),
        (["1", "2", "3"], "multiclass", None, (1, 2, 3)),
        (["1.5", "2", "3"], "regression", None, None),
        ([str(n) for n in range(90)], "regression", None, None),
        ([f"w{n}" for n in range(90)], "multiclass", None, None),
        ([""], "anomaly", None, None),
    ],
)
def test_the_task_goes_by_the_labels(
    tmp_path: Path, labels: list[str], task: str, positive: object, classes: object
) -> None:
    text = "x,label\n" + "".join(f"{n},{labels[n % len(labels)]}\n" for n in range(90))
    found = infer(write(tmp_path, text))
    assert (found.task, found.positive, found.classes) == (task, positive, classes)


def test_what_was_inferred_takes_the_file_it_came_from(tmp_path: Path) -> None:
    rows_of = (f'2026-01-0{n % 9 + 1},0{n % 60},{n}.5,"[{n}, 1]",k{n % 3}\n' for n in range(99))
    text = "when,code,x,v,kind\n" + "".join(rows_of)
    place = write(tmp_path, text)
    found = infer(place, label="kind", time="when")
    assert (found.task, found.classes, found.time) == ("multiclass", ("k0", "k1", "k2"), "when")
    contract = Contract(features={each.name: Feature(type=each.type, required=each.required) for each in found.columns})
    target = Target(task=found.task, positive=found.positive, classes=found.classes)
    source = open_source(place, SourceSpec(target=target, label=found.label, time=found.time, contract=contract))
    rows = list(source.rows())
    assert len(rows) == 99
    assert rows[3].features == contract.apply(rows[3].features) == {"code": "03", "x": 3.5, "v": [3.0, 1.0]}


def test_label_id_and_time_are_guessed_by_name_and_the_time_by_its_values(tmp_path: Path) -> None:
    head = "event_id,timestamp,time,is_fraud,x\n"
    found = infer(write(tmp_path, head + "a,2026-01-01T00:00:00Z,3,1,5\nb,2026-01-02T00:00:00Z,4,0,6\n"))
    assert (found.label, found.id, found.time) == ("is_fraud", "event_id", "timestamp")
    ages = infer(write(tmp_path, "time,weight\n1,2.5\n2,3.5\n"))
    assert (ages.label, ages.id, ages.time) == ("weight", None, None)
    assert [column.name for column in ages.columns] == ["time"]


def test_json_lines_show_which_names_may_be_absent(tmp_path: Path) -> None:
    lines = [{"x": 1, "label": True}, {"x": 2.5, "v": [1, 2], "label": False}, {"x": None, "label": True}]
    found = infer(write(tmp_path, "\n".join(map(json.dumps, lines)), "data.jsonl"))
    columns = by_name(found.columns)
    assert (columns["x"].type, columns["x"].required, columns["x"].missing) == ("number", False, 1)
    assert (columns["v"].type, columns["v"].missing) == ("vector", 2)
    assert found.task == "binary"


@pytest.mark.parametrize(
    ("name", "task", "features"),
    [("Phishing", "binary", 9), ("ImageSegments", "multiclass", 18), ("ChickWeights", "regression", 3)],
)
def test_river_data_sets_are_told_apart(name: str, task: str, features: int) -> None:
    found = infer(f"river:{name}")
    assert (found.task, len(found.columns)) == (task, features)


def test_what_cannot_be_looked_at_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="has no column 'y'; it has: x, label"):
        infer(write(tmp_path, "x,label\n1,1\n"), label="y")
    with pytest.raises(SourceError, match="has no rows to look at"):
        infer(write(tmp_path, "x,label\n"))
    with pytest.raises(SourceError, match="has no rows to look at"):
        infer(write(tmp_path, "\n", "empty.jsonl"))
    with pytest.raises(SourceError, match="line 1: not a JSON object"):
        infer(write(tmp_path, '{"x": NaN}\n', "nan.jsonl"))
    with pytest.raises(SourceError, match="JSON over several lines: write one object a line"):
        infer(write(tmp_path, '{\n  "x": 1\n}\n', "pretty.json"))
    with pytest.raises(SourceError, match="line 2: 1 columns"):
        infer(write(tmp_path, "x,label\n1\n"))


def test_a_column_called_id_that_repeats_is_a_feature_and_said(tmp_path: Path) -> None:
    place = write(tmp_path, "id,x,label\n" + "".join(f"{n % 10},{n},{n % 2}\n" for n in range(50)))
    found = infer(place)
    assert (found.id, [column.name for column in found.columns]) == (None, ["id", "x"])
    assert found.notes[0].startswith("id: not taken as the id, as 40 of 50 rows have a value of a row before them")
    named = infer(place, id="id")
    assert (named.id, named.notes) == ("id", ("id: 40 of 50 rows have the id of a row before them",))


def test_another_column_that_names_each_row_is_taken_in_its_place(tmp_path: Path) -> None:
    place = write(tmp_path, "id,order_id,label\n" + "".join(f"{n % 10},{10**18 + n},{n % 2}\n" for n in range(50)))
    found = infer(place)
    assert (found.id, found.notes) == ("order_id", ())


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_labels_that_begin_late_are_looked_for(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.infer.SAMPLE_ROWS", 50)
    rows = [{"x": n} | ({"fraud": n % 2 == 1, "late": 1} if n >= 100 else {}) for n in range(200)]
    if suffix == "jsonl":
        text = "\n".join(map(json.dumps, rows))
    else:
        text = "x,fraud\n" + "".join(f"{row['x']},{row.get('fraud', '')}\n" for row in rows)
    found = infer(write(tmp_path, text, f"data.{suffix}"), label="fraud")
    assert (found.task, found.label, found.rows) == ("binary", "fraud", 100)


def test_columns_beyond_the_rows_looked_at_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.infer.SAMPLE_ROWS", 50)
    rows = [{"x": n, "label": n % 2} | ({"late": 1} if n > 100 else {}) for n in range(200)]
    found = infer(write(tmp_path, "\n".join(map(json.dumps, rows)), "data.jsonl"))
    assert found.notes == ("late: in no row that was looked at, but later in the file; add what is a feature",)


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    rows = "".join(f"{n},,{n % 2}\n" for n in range(40))
    found = infer(write(tmp_path, f"x,nothing,label\n{rows}1,2\n"))
    assert found.notes[0] == "nothing: left out, as no row has a value there"
    assert found.notes[1].startswith("1 of 41 rows cannot be read and were left out; the first is ")
    wide = infer(write(tmp_path, json.dumps({f"s{n}": n for n in range(1200)} | {"label": 1}), "wide.jsonl"))
    assert wide.notes == (
        "1,200 features, where 1,000 are the most of one event: Validation(max_features=1200) is set",
    )


def test_times_as_numbers_are_left_out_where_they_are_called_so(tmp_path: Path) -> None:
    rows = "".join(f"{1_700_000_000_000 - n},{1_700_000_000_000 + n},{n},{n % 2}\n" for n in range(40))
    found = infer(write(tmp_path, f"created_at,bytes,delivery_time,label\n{rows}"))
    assert [column.name for column in found.columns] == ["bytes", "delivery_time"]
    assert found.left_out == {"created_at": "times in ms since 1970"}
    assert found.time is None


def test_numbers_in_quotes_are_said(tmp_path: Path) -> None:
    lines = [{"x": f"{n}.5", "label": n % 2} for n in range(40)]
    found = infer(write(tmp_path, "\n".join(map(json.dumps, lines)), "data.jsonl"))
    assert found.columns[0].type == "string"
    assert "x: text that holds numbers, such as '0.5'" in found.notes[0]


def test_a_column_named_as_the_time_that_holds_none_is_refused(tmp_path: Path) -> None:
    place = write(tmp_path, "day,x,label\n1/31/2026,1,1\n2/1/2026,2,0\n")
    with pytest.raises(SourceError, match=r"--time day: .*line 2: the time column 'day' holds '1/31/2026'"):
        infer(place, time="day")
    with pytest.raises(SourceError, match=r"--time x: .*before 1990"):
        infer(place, time="x")
