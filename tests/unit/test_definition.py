"""A model's definition: the same in every process, and another one for any change that matters."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from user_files import forgetful, write_stream

from millstream.stream.definition_hash import changes, definition_hash, difference
from millstream.stream.load import LoadedStream, load_stream, ready_made

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
    code = f"from millstream.stream.load import load_stream; print(load_stream({ref!r}).definition_text)"
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


# What a module holds and its functions use, by kind: one value, and another.
HELD = {
    "a compiled pattern": ("re.compile('a')", "re.compile('b')"),
    "flags of a pattern": ("re.compile('a')", "re.compile('a', re.I)"),
    "an array": ("np.array([2.0, 1.0])", "np.array([2.0, 3.0])"),
    "a decimal": ("Decimal('2.0')", "Decimal('2.5')"),
    "a fraction": ("Fraction(1, 2)", "Fraction(1, 3)"),
    "a date": ("datetime.date(2026, 1, 1)", "datetime.date(2026, 1, 2)"),
    "an object of one's own": ("Box(2.0)", "Box(2.5)"),
    "an object whose attributes have other names": ("Hidden(2.0)", "Hidden(2.5)"),
    "a member of an enum": ("Kind.FIRST", "Kind.SECOND"),
    "a named tuple": ("Pair(1, 2)", "Pair(1, 3)"),
    "a function behind a cache": ("functools.cache(double)", "functools.cache(triple)"),
    "a partial": ("functools.partial(double, 1)", "functools.partial(double, 2)"),
    "a bound method": ("Box(2.0).get", "Box(2.5).get"),
    "a list of objects": ("[Box(1.0), Box(2.0)]", "[Box(1.0), Box(2.5)]"),
    "a fitted model of a library": ("fitted(1.0)", "fitted(2.0)"),
}
HOLDS = """
import collections, datetime, enum, functools, re
import numpy as np
from decimal import Decimal
from fractions import Fraction
class Box:
    def __init__(self, v): self.v = v
    def get(self): return self.v
class Hidden:
    def __init__(self, v): self._w = v
class Kind(enum.Enum):
    FIRST = 1
    SECOND = 2
Pair = collections.namedtuple("Pair", "a b")
def double(x=1): return 2 * x
def triple(x=1): return 3 * x
def fitted(value):
    from river import stats
    mean = stats.Mean()
    mean.update(value)
    return mean
HELD = {held}
def uses(x):
    return {{"held": float(bool(HELD)), **x}}
"""


@pytest.mark.parametrize(("old", "new"), HELD.values(), ids=HELD.keys())
def test_whatever_a_function_uses_of_its_module_belongs_to_it(tmp_path: Path, old: str, new: str) -> None:
    model = "compose.FuncTransformer(uses) | linear_model.LogisticRegression()"
    first, again, other = (
        loaded(tmp_path, name, model, before=HOLDS.format(held=held))
        for name, held in (("first", old), ("again", old), ("other", new))
    )
    assert first.definition_text == again.definition_text
    assert first.definition != other.definition
    assert any("HELD" in each for each in changes(first.definition_text, other.definition_text))


SCALE_BY = """
import re
import numpy as np
from decimal import Decimal
from river import base
class Scale(base.Transformer):
    def __init__(self, by): self.by = by
    def transform_one(self, x): return x
"""


@pytest.mark.parametrize("parameter", ["np.array([{}])", "re.compile('{}')", "Decimal('{}')"])
def test_an_object_of_a_library_that_a_part_is_made_with_belongs_to_it(tmp_path: Path, parameter: str) -> None:
    models = [f"Scale({parameter.format(value)}) | linear_model.LogisticRegression()" for value in (1, 2)]
    one, two = (loaded(tmp_path, f"by{n}", model, before=SCALE_BY) for n, model in enumerate(models))
    assert one.definition != two.definition


OF_THE_PROCESS = """
import logging, threading, sys
LOG, LOCK, OUT = logging.getLogger("held"), threading.Lock(), sys.stderr
def uses(x):
    LOG.debug(x), LOCK.locked(), OUT.fileno()
    return x
"""


def test_a_logger_a_lock_and_an_open_file_are_no_part_of_it(tmp_path: Path) -> None:
    model = "compose.FuncTransformer(uses) | linear_model.LogisticRegression()"
    one = loaded(tmp_path, "one", model, before=OF_THE_PROCESS)
    logging.getLogger("held").addHandler(logging.NullHandler())
    assert loaded(tmp_path, "two", model, before=OF_THE_PROCESS).definition == one.definition


LR = "preprocessing.StandardScaler() | linear_model.LogisticRegression()"


@pytest.mark.parametrize(
    "more",
    [
        "labels=Labels(on_timeout=False)",
        "weight={True: 2.0}",
        "weight=lambda x, y: 2.0",
        "positive='yes'",
        "classes=(True, False)",
    ],
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


@pytest.mark.parametrize(
    "more", ["labels=Labels(wait='2d')", "partitions=8", "evaluation=Evaluation(window=7)", "features={'x': 'number'}"]
)
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
