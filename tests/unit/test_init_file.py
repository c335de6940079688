"""The stream file that `init` writes: it passes `check` and ruff as it stands, and overwrites nothing."""

from __future__ import annotations

import csv
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from user_files import forgetful

from millstream.check.check import check
from millstream.scaffold.write_stream_file import InitError, init
from millstream.stream.load import LoadedStream, load_stream
from producers.infer import Inferred, infer

__all__ = ["forgetful"]

Row = Callable[[random.Random], Sequence[object]]
WORDS = "ask bid call deal earn find give hold".split()  # noqa: SIM905 - shorter so


def table(folder: Path, head: Sequence[str], row: Row) -> str:
    path = folder / "data.csv"
    rng = random.Random(1)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(row(rng) for _ in range(300))
    return str(path)


def require_clean(path: Path) -> None:
    """Insist that ruff has nothing to say to the file, neither to its code nor to its layout."""
    ruff = Path(sys.executable).with_name("ruff")
    command = str(ruff) if ruff.exists() else shutil.which("ruff")
    if command is None:
        pytest.skip("ruff is not installed here")
    for arguments in (["check"], ["format", "--diff"]):
        whole = [command, *arguments, "--isolated", "--no-cache", str(path)]
        ran = subprocess.run(whole, cwd=path.parent, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr


def begun(folder: Path, inferred: Inferred | None = None, source: str | None = None) -> LoadedStream:
    path = init("my-stream", folder, inferred, source)
    assert path == folder / "my_stream.py"
    require_clean(path)
    loaded = load_stream(str(path))
    assert loaded.stream.name == "my-stream"
    assert check(loaded, 80).errors == ()
    return loaded


def test_without_a_file_it_is_one_to_fill_in(tmp_path: Path) -> None:
    loaded = begun(tmp_path)
    assert loaded.stream.task == "binary"
    assert not loaded.stream.features


def test_from_numbers_and_categories(tmp_path: Path) -> None:
    source = table(
        tmp_path,
        ["event_id", "timestamp", "amount", "country", "vip", "is_fraud"],
        lambda rng: [
            rng.random(),
            f"2026-01-01T00:{rng.randrange(60):02}:00Z",
            rng.random() if rng.random() > 0.1 else "",
            rng.choice(["ch", "de", ""]),
            rng.choice(["true", "false"]),
            rng.choice(["fraud", "good"]),
        ],
    )
    stream = begun(tmp_path, infer(source), source).stream
    assert (stream.label, stream.id, stream.time, stream.positive) == ("is_fraud", "event_id", "timestamp", "fraud")
    assert dict(stream.features) == {"amount": "number", "country": "string", "vip": "boolean"}
    assert "seen: 'ch', 'de'" in (tmp_path / "my_stream.py").read_text()


def test_from_numbers_to_a_number(tmp_path: Path) -> None:
    source = table(tmp_path, ["a", "b", "price"], lambda rng: [rng.random(), rng.random(), rng.random() * 9])
    assert begun(tmp_path, infer(source), source).stream.task == "regression"


def test_from_a_river_data_set_of_several_classes(tmp_path: Path) -> None:
    stream = begun(tmp_path, infer("river:ImageSegments"), "river:ImageSegments").stream
    assert stream.task == "multiclass"
    assert len(stream.classes or ()) == 7


def test_odd_names_of_columns_stay_what_they_are(tmp_path: Path) -> None:
    names = ['we"ird', "it's", "back\\slash", "smörgås", "{x}", "# no comment"]
    source = table(tmp_path, [*names, "label"], lambda rng: [*(rng.random() for _ in names), rng.randint(0, 1)])
    assert list(begun(tmp_path, infer(source), source).stream.features) == names


def test_values_in_comments_cannot_become_code(tmp_path: Path) -> None:
    evil = "x\nraise SystemExit"
    source = table(
        tmp_path, ["a", "c", "label"], lambda rng: [rng.random(), rng.choice(["ok", evil]), rng.randint(0, 1)]
    )
    begun(tmp_path, infer(source), '"""\nraise SystemExit #')
    assert "\nraise SystemExit" not in (tmp_path / "my_stream.py").read_text()


def test_texts_are_told_from_categories(tmp_path: Path) -> None:
    def row(rng: random.Random) -> Sequence[object]:
        words = rng.choices(WORDS, k=6)
        return [" ".join(words), rng.choice(["a", "b", ""]), int("deal" in words)]

    source = table(tmp_path, ["subject", "kind", "label"], row)
    path = init("my-stream", tmp_path, infer(source), source)
    require_clean(path)
    text = path.read_text()
    assert 'feature_extraction.BagOfWords(on="subject")' in text
    assert '"subject": Feature(type="string", required=True)' in text
    assert 'TEXTS = [\n    "subject",\n]' in text
    assert "compose.Discard(*TEXTS)\n            | compose.SelectType(str)" in text
    loaded = load_stream(str(path))
    assert not loaded.stream.contract.features["kind"].required  # an event may lack it
    assert check(loaded, place=source).errors == ()


def test_guesses_are_in_the_file_as_comments(tmp_path: Path) -> None:
    source = table(
        tmp_path,
        ["ozone", "price", "seen", "label"],
        lambda rng: [rng.choice(["NA", 1, 2]), rng.random(), f"2026-01-{rng.randint(10, 28)}", rng.randint(0, 1)],
    )
    loaded = begun(tmp_path, infer(source), source)
    assert dict(loaded.stream.features) == {"ozone": "integer", "price": "number"}
    text = (tmp_path / "my_stream.py").read_text()
    assert "        # ozone: 'NA' (" in text
    assert "        # Left out: seen (dates or times, such as '2026-01-" in text


def test_more_features_than_the_limit_set_the_limit(tmp_path: Path) -> None:
    names = [f"s{n}" for n in range(1001)]
    source = table(tmp_path, [*names, "label"], lambda rng: [*(rng.random() for _ in names), rng.randint(0, 1)])
    path = init("my-stream", tmp_path, infer(source), source)
    require_clean(path)
    assert load_stream(str(path)).stream.contract.max_features == 1001


def test_inside_a_checkout_the_imports_are_sorted_as_there(tmp_path: Path) -> None:
    (tmp_path / "millstream").mkdir()
    (tmp_path / "millstream" / "__init__.py").touch()
    require_clean(init("my-stream", tmp_path))


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "my_stream.py").write_text("mine")
    with pytest.raises(InitError, match="is there already and is left as it is"):
        init("my-stream", tmp_path)
    assert (tmp_path / "my_stream.py").read_text() == "mine"


@pytest.mark.parametrize("name", ["schemas", "json", "1st", "Big", "a_b", "", "../up", "class"])
def test_names_that_cannot_be_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InitError) as caught:
        init(name, tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InitError, match="cannot be written"):
        init("fine", tmp_path / "nowhere")
