"""A model's definition: the same in every process, and another one for any change that matters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from user_files import forgetful, write_stream

from millstream.definition import definition_hash, difference
from millstream.load import LoadedStream, load_stream, ready_made

__all__ = ["forgetful"]

RICH = """
import functools, math
LIMIT = 0.5
NAMES = {"b", "a", "c", "longer", "another"}
def clip(x, top=3.0):
    return {key: min(value, top) for key, value in x.items() if key not in {"u", "v", "w", "x"} and LIMIT}
def later(x, by):
    return {key: value + by for key, value in x.items() if key in NAMES or True}
class Scaler(preprocessing.StandardScaler):
    def learn_one(self, x):
        super().learn_one(x)
"""
RICH_MODEL = """(
    compose.FuncTransformer(clip)
    | (Scaler() + compose.FuncTransformer(functools.partial(later, by=2.0)) + compose.Discard("q", "r", "s"))
    | ensemble.LeveragingBaggingClassifier(
        linear_model.LogisticRegression(optim.Adam(0.1), l2=0.1), n_models=3, seed=7)
)"""


def loaded(folder: Path, name: str, model: str, more: str = "", **given: str) -> LoadedStream:
    """Load a stream from a folder of its own; the file's name, and so the module's, is always the same."""
    place = folder / name
    place.mkdir()
    found = load_stream(write_stream(place, model, more, **given))
    del sys.modules["userfile"]
    sys.path.remove(str(place))
    return found


def definition_in(hash_seed: str, ref: str) -> str:
    code = f"from millstream.load import load_stream; print(load_stream({ref!r}).definition_text)"
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return ran.stdout


def test_it_is_the_same_in_processes_with_different_hash_seeds(tmp_path: Path) -> None:
    ref = write_stream(tmp_path, RICH_MODEL, before=RICH)
    texts = {definition_in(seed, ref) for seed in ("0", "77")}
    assert len(texts) == 1
    text = texts.pop()
    assert "0x" not in text, "an address is no definition"
    assert text.count("\n") > 30


def test_it_is_the_same_each_time_the_model_is_built(tmp_path: Path) -> None:
    for name in ready_made():
        assert load_stream(name).definition == load_stream(name).definition
    first = loaded(tmp_path, "first", RICH_MODEL, before=RICH)
    second = loaded(tmp_path, "second", RICH_MODEL, before=RICH)
    assert first.definition_text == second.definition_text
    assert first.definition == definition_hash(first.definition_text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("optim.Adam(0.1)", "optim.Adam(0.1001)"),
        ("optim.Adam", "optim.AdaGrad"),
        ("l2=0.1", "l2=0.2"),
        ("n_models=3", "n_models=4"),
        ("seed=7", "seed=8"),
        ("Scaler() +", "Scaler(with_std=False) +"),
        ("by=2.0", "by=2"),
        ('Discard("q", "r", "s")', 'Discard("q", "r")'),
        ("FuncTransformer(clip)", "FuncTransformer(later)"),
        ("compose.FuncTransformer(clip)\n    | (", "("),
    ],
)
def test_any_changed_parameter_changes_it(tmp_path: Path, old: str, new: str) -> None:
    assert old in RICH_MODEL
    before = loaded(tmp_path, "before", RICH_MODEL, before=RICH)
    after = loaded(tmp_path, "after", RICH_MODEL.replace(old, new), before=RICH)
    assert before.definition != after.definition
    assert difference(before.definition_text, after.definition_text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("top=3.0", "top=4.0"),
        ("LIMIT = 0.5", "LIMIT = 0.0"),
        ("min(value, top)", "max(value, top)"),
        ('"w", "x"', '"w", "y"'),
        ("value + by", "value - by"),
        ('"another"', '"one more"'),
        ("super().learn_one(x)", "super().learn_one(dict(x))"),
    ],
)
def test_a_change_in_the_users_own_code_changes_it(tmp_path: Path, old: str, new: str) -> None:
    assert old in RICH
    before = loaded(tmp_path, "before", RICH_MODEL, before=RICH)
    after = loaded(tmp_path, "after", RICH_MODEL, before=RICH.replace(old, new))
    assert before.definition != after.definition


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("def later", "# a comment\n\n\ndef later"),
        ("    def learn_one(self, x):\n", "    def learn_one(self, x):\n        '''Says more.'''\n"),
        ("def clip(x, top=3.0):\n", "def clip(x, top=3.0):\n    '''Says more.'''\n"),
        ("import functools, math", "import math\nimport functools"),
        ('"b", "a", "c"', '"a", "b", "c"'),
    ],
)
def test_comments_layout_and_the_order_of_a_set_do_not(tmp_path: Path, old: str, new: str) -> None:
    assert old in RICH
    before = loaded(tmp_path, "before", RICH_MODEL, before=RICH)
    after = loaded(tmp_path, "after", RICH_MODEL, before=RICH.replace(old, new))
    assert difference(before.definition_text, after.definition_text) == ""


LR = "preprocessing.StandardScaler() | linear_model.LogisticRegression()"


@pytest.mark.parametrize(
    "more",
    ["on_timeout=False", "weight={True: 2.0}", "weight=lambda x, y: 2.0", "positive='yes'", "classes=(True, False)"],
)
def test_what_changes_learning_belongs_to_it(tmp_path: Path, more: str) -> None:
    plain, changed = loaded(tmp_path, "plain", LR), loaded(tmp_path, "changed", LR, more)
    assert plain.definition != changed.definition


def test_another_weight_is_another_definition_and_another_order_of_classes_is_not(tmp_path: Path) -> None:
    first = loaded(tmp_path, "first", LR, "weight={True: 2.0, False: 1.0}")
    again = loaded(tmp_path, "again", LR, "weight={False: 1.0, True: 2.0}")
    other = loaded(tmp_path, "other", LR, "weight={True: 3.0, False: 1.0}")
    by_two = loaded(tmp_path, "two", LR, "weight=lambda x, y: 2.0 if y else 1.0")
    by_three = loaded(tmp_path, "three", LR, "weight=lambda x, y: 3.0 if y else 1.0")
    assert first.definition == again.definition
    assert len({each.definition for each in (first, other, by_two, by_three)}) == 4


@pytest.mark.parametrize("more", ["label_wait='2d'", "partitions=8", "window=7", "features={'x': 'number'}"])
def test_what_does_not_change_the_model_is_no_part_of_it(tmp_path: Path, more: str) -> None:
    assert loaded(tmp_path, "plain", LR).definition == loaded(tmp_path, "changed", LR, more).definition


def test_the_order_of_steps_counts(tmp_path: Path) -> None:
    one = "preprocessing.StandardScaler() | preprocessing.Normalizer() | linear_model.LogisticRegression()"
    other = "preprocessing.Normalizer() | preprocessing.StandardScaler() | linear_model.LogisticRegression()"
    assert loaded(tmp_path, "one", one).definition != loaded(tmp_path, "other", other).definition


def test_a_difference_shows_the_lines_that_changed(tmp_path: Path) -> None:
    before = loaded(tmp_path, "before", LR)
    after = loaded(tmp_path, "after", LR.replace("LogisticRegression()", "LogisticRegression(l2=0.5)"))
    assert difference(before.definition_text, after.definition_text).splitlines() == [
        "- model[LogisticRegression].l2 = 0.0",
        "+ model[LogisticRegression].l2 = 0.5",
    ]
