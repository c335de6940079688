"""A definition sees whatever a user's own code makes of a model, and nothing else in the same files."""

from __future__ import annotations

import importlib
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from river import preprocessing

from millstream.stream.code_object import decode
from millstream.stream.errors import LoadError
from millstream.stream.load import LoadedStream, load_stream
from millstream.version_code.choice import run_code

HEAD = """
from river import base, compose, linear_model, preprocessing
from millstream import Evaluation, Labels, Stream
"""
TAIL = """
def make():
    return compose.Pipeline(T(), linear_model.LogisticRegression())
stream = Stream(name="sliced", task="binary", model=make, label="y"{more})
"""
METHOD = "class T(base.Transformer):\n    def transform_one(self, x): return {{'x': {0}}}\n"
_OWN: Final = ("sliced", "helper", "feats", "consts", "shared", "conf", "patches")


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    """Undo what importing the files of a test does to this process."""
    path = list(sys.path)
    factor = getattr(preprocessing.StandardScaler, "factor", None)
    yield
    sys.path[:] = path
    _forget()
    if factor is None and hasattr(preprocessing.StandardScaler, "factor"):
        del preprocessing.StandardScaler.factor


def _forget() -> None:
    for name in [each for each in sys.modules if each.partition(".")[0] in _OWN]:
        del sys.modules[name]


_folders = itertools.count()


def load(tmp_path: Path, body: str, others: dict[str, str] | None = None, more: str = "") -> LoadedStream:
    """Load ``sliced.py`` from a folder of its own, as a process of its own would."""
    folder = tmp_path / str(next(_folders))
    _forget()
    sys.path[:] = [each for each in sys.path if not each.startswith(str(tmp_path))]
    for name, text in {"sliced.py": HEAD + body + TAIL.format(more=more), **(others or {})}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    importlib.invalidate_caches()
    return load_stream(str(folder / "sliced.py"))


# By what carries the change: the stream file, and modules beside it; @@ is 1 and then 2.
SEEN: dict[str, tuple[str, dict[str, str]]] = {
    "a class attribute computed from a constant": (
        "RATE = @@\nclass T(base.Transformer):\n    rate = RATE\n"
        "    def transform_one(self, x): return {'x': self.rate}\n",
        {},
    ),
    "the default of a method's argument": (
        "RATE = @@\nclass T(base.Transformer):\n    def transform_one(self, x, rate=RATE): return {'x': rate}\n",
        {},
    ),
    "an import within a method": (
        "class T(base.Transformer):\n    def transform_one(self, x):\n"
        "        from helper import RATE\n        return {'x': RATE}\n",
        {"helper.py": "RATE = @@\n"},
    ),
    "what a module imports in turn": (
        "import feats\n" + METHOD.format("feats.f(x)"),
        {"feats.py": "from consts import RATE\ndef f(x): return RATE\n", "consts.py": "RATE = @@\n"},
    ),
    "a module of a package": (
        "import shared.scale\n" + METHOD.format("shared.scale.RATE"),
        {"shared/__init__.py": "", "shared/scale.py": "RATE = @@\n"},
    ),
    "a relative import": (
        "from shared import RATE\n" + METHOD.format("RATE"),
        {"shared/__init__.py": "from .conf import RATE\n", "shared/conf.py": "RATE = @@\n"},
    ),
    "a base class in another module": (
        "from helper import B\nclass T(B): pass\n",
        {
            "helper.py": "from river import base\nRATE = @@\nclass B(base.Transformer):\n"
            "    def transform_one(self, x): return {'x': RATE}\n"
        },
    ),
    "a star import": ("from helper import *\n" + METHOD.format("RATE"), {"helper.py": "RATE = @@\n"}),
    "a module's attribute that is set from outside": (
        "import conf\nconf.RATE = @@\n" + METHOD.format("conf.RATE"),
        {"conf.py": "RATE = 0\n"},
    ),
    "a bound method of a pattern": ("import re\nfind = re.compile('@@').search\n" + METHOD.format("find(x)"), {}),
    "a bound method of a dictionary": ("find = {'a': @@}.get\n" + METHOD.format("find('a')"), {}),
    "a decorated method": (
        "import functools\nRATE = @@\ndef safe(f):\n    @functools.wraps(f)\n    def g(self, x): return f(self, x)\n"
        "    return g\nclass T(base.Transformer):\n    @safe\n    def transform_one(self, x): return {'x': RATE}\n",
        {},
    ),
    "the body of a decorator": (
        "def safe(f):\n    def g(self, x): return @@\n    return g\n"
        "class T(base.Transformer):\n    @safe\n    def transform_one(self, x): return {'x': 1}\n",
        {},
    ),
    "a cached method": (
        "import functools\nRATE = @@\nclass T(base.Transformer):\n    @functools.lru_cache\n"
        "    def s(self, v): return RATE\n"
        "    def transform_one(self, x): return {'x': self.s(1)}\n",
        {},
    ),
    "a cached property": (
        "import functools\nRATE = @@\nclass T(base.Transformer):\n    @functools.cached_property\n"
        "    def r(self): return RATE\n    def transform_one(self, x): return {'x': self.r}\n",
        {},
    ),
    "a function named like a builtin": ("def round(v): return v * @@\n" + METHOD.format("round(1)"), {}),
    "an import named like a builtin": (
        "from helper import pow\n" + METHOD.format("pow(1)"),
        {"helper.py": "def pow(v): return @@\n"},
    ),
    "the value of an enum member": (
        "import enum\nclass Mode(enum.Enum):\n    FAST = @@\nclass T(base.Transformer):\n"
        "    def __init__(self, mode=Mode.FAST): self.mode = mode\n"
        "    def transform_one(self, x): return {'x': self.mode.value}\n",
        {},
    ),
    "a method of a named tuple": (
        "from typing import NamedTuple\nclass P(NamedTuple):\n    a: float\n    def f(self): return @@\n"
        "class T(base.Transformer):\n    def __init__(self, p=P(2.0)): self.p = p\n"
        "    def transform_one(self, x): return {'x': self.p.f()}\n",
        {},
    ),
    "a kind of dictionary": (
        "class D(dict):\n    def __missing__(self, k): return @@\nTABLE = D()\n" + METHOD.format("TABLE['a']"),
        {},
    ),
    "the factory of a default": (
        "from collections import defaultdict\nTABLE = defaultdict(lambda: @@)\n" + METHOD.format("TABLE['a']"),
        {},
    ),
    "an object that is filled": (
        "class Rules:\n    def __init__(self): self.rules = []\n    def add(self, r): self.rules.append(r)\n"
        "RULES = Rules()\nRULES.add(@@)\n" + METHOD.format("RULES.rules[0]"),
        {},
    ),
    "a registry": (
        "class Registry:\n    def __init__(self): self.fs = {}\n    def register(self, f): self.fs['f'] = f; return f\n"
        "R = Registry()\n@R.register\ndef a(x): return @@\n" + METHOD.format("R.fs['f'](x)"),
        {},
    ),
    "a registry that is a dictionary": (
        "R = {}\ndef register(f): R['f'] = f; return f\n@register\ndef a(x): return @@\n" + METHOD.format("R['f'](x)"),
        {},
    ),
    "a transformer of a library around a function": (
        "def clean(x): return {'x': @@}\nPRE = compose.FuncTransformer(clean)\n"
        + METHOD.format("PRE.transform_one(x)"),
        {},
    ),
    "a library's class that is changed": (
        "preprocessing.StandardScaler.factor = @@\n" + METHOD.format("preprocessing.StandardScaler.factor"),
        {},
    ),
    "a class that is changed afterwards": (
        METHOD.format("1") + "def other(self, x): return {'x': @@}\nT.transform_one = other\n",
        {},
    ),
    "a decorator of a class": (
        "def deco(c):\n    c.rate = @@\n    return c\n@deco\n" + METHOD.format("self.rate"),
        {},
    ),
    "a class within the class": (
        "RATE = @@\nclass T(base.Transformer):\n    class S:\n        def f(self): return RATE\n"
        "    def transform_one(self, x): return {'x': self.S().f()}\n",
        {},
    ),
    "globals()": ("RATE = @@\n" + METHOD.format("globals()['RATE']"), {}),
    "a function's attribute": ("def f(v): return f.rate\nf.rate = @@\n" + METHOD.format("f(1)"), {}),
    "the seed of a generator": ("import random\nRNG = random.Random(@@)\n" + METHOD.format("RNG.random()"), {}),
    "a method of a library in a dictionary": (
        "D = {'a': (str.lower, str.upper)[@@ - 1]}\n" + METHOD.format("D['a']('b')"),
        {},
    ),
    "a fitted object in a dictionary": (
        "S = preprocessing.StandardScaler()\nS.learn_one({'x': @@})\nD = {'a': S}\n" + METHOD.format("D['a']"),
        {},
    ),
    "an object with slots": (
        "class C:\n    __slots__ = ('r',)\nc = C()\nc.r = @@\n" + METHOD.format("c.r"),
        {},
    ),
    "a class computed from a constant": ("RATE = @@\nclass C:\n    R = RATE * 2\n" + METHOD.format("C.R"), {}),
    "a loop": ("TABLE = {}\nfor n in range(@@):\n    TABLE[n] = n\n" + METHOD.format("len(TABLE)"), {}),
    "a branch": ("if @@ > 1:\n    RATE = 1\nelse:\n    RATE = 2\n" + METHOD.format("RATE"), {}),
    "an augmented assignment": ("RATE = 1\nRATE += @@\n" + METHOD.format("RATE"), {}),
    "importlib": (
        "import importlib\nh = importlib.import_module('helper')\n" + METHOD.format("h.RATE"),
        {"helper.py": "RATE = @@\n"},
    ),
}


@pytest.mark.parametrize(("body", "others"), SEEN.values(), ids=SEEN.keys())
def test_a_change_that_changes_answers_changes_the_definition(
    tmp_path: Path, body: str, others: dict[str, str]
) -> None:
    def made(value: str) -> LoadedStream:
        return load(
            tmp_path, body.replace("@@", value), {name: text.replace("@@", value) for name, text in others.items()}
        )

    first, again, other = made("1"), made("1"), made("2")
    assert first.definition_text == again.definition_text
    assert first.definition != other.definition
    assert run_code(decode(first.code)).definition_text == first.definition_text


PLAIN = "RATE = 1.5\n" + METHOD.format("x['a'] * RATE")
UNSEEN = {
    "another function": "def unrelated(message): return {'b': 2}\n",
    "a function for a source": "def prepare(message): return {'a': float(message['a']) + 1}\n",
    "a constant that nothing uses": "OTHER = 17\n",
    "a class that nothing uses": "class Other(base.Transformer):\n    def transform_one(self, x): return x\n",
    "an import": "import json, math\n",
    "what runs as a script only": "if __name__ == '__main__':\n    print(T(), RATE)\n",
    "a comment and a docstring": "'''A stream.'''\n# RATE = 3\n",
}


@pytest.mark.parametrize("added", UNSEEN.values(), ids=UNSEEN.keys())
def test_what_the_model_does_not_use_does_not_change_it(tmp_path: Path, added: str) -> None:
    assert load(tmp_path, PLAIN).definition_text == load(tmp_path, added + PLAIN).definition_text
    assert load(tmp_path, PLAIN).definition_text == load(tmp_path, PLAIN + added).definition_text


@pytest.mark.parametrize(
    "more",
    [', labels=Labels(wait="2h")', ", evaluation=Evaluation(window=5)", ', features={"a": "number"}', ", partitions=3"],
)
def test_other_arguments_of_the_stream_do_not_change_it(tmp_path: Path, more: str) -> None:
    assert load(tmp_path, PLAIN).definition == load(tmp_path, PLAIN, more=more).definition


def test_where_a_file_lies_and_what_the_clock_says_do_not_change_it(tmp_path: Path) -> None:
    body = "import datetime, pathlib\nHERE = pathlib.Path(__file__).parent\nSTARTED = datetime.datetime.now()\n"
    body += METHOD.format("len(HERE.parts) + STARTED.year")
    assert load(tmp_path, body).definition_text == load(tmp_path, body).definition_text


def test_no_text_that_came_from_the_environment_is_in_a_definition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLICED_KEY", "hunter2-very-secret")
    body = "import os\nfrom os import environ\nKEY = os.environ['SLICED_KEY']\n"
    body += METHOD.format("len(KEY) + len(environ)")
    loaded = load(tmp_path, body)
    assert "hunter2" not in loaded.definition_text
    assert os.environ["PATH"] not in loaded.definition_text
    assert b"hunter2" not in loaded.code


def test_many_functions_that_call_each_other_are_told_quickly(tmp_path: Path) -> None:
    names = [f"f{number}" for number in range(12)]
    body = "".join(f"def {name}(x): return [{', '.join(names)}]\n" for name in names) + METHOD.format("f0(1)")
    assert len(load(tmp_path, body).definition_text) < 100_000


def test_a_large_table_is_one_line(tmp_path: Path) -> None:
    body = "TABLE = {n: n for n in range(100_000)}\n" + METHOD.format("TABLE[1]")
    assert len(load(tmp_path, body).code) < 10_000


def test_a_number_of_any_length_and_an_object_that_raises_are_no_traceback(tmp_path: Path) -> None:
    assert load(tmp_path, "BIG = 10 ** 5000\n" + METHOD.format("BIG")).definition
    odd = "class Odd:\n    def __getattr__(self, name): raise RuntimeError(name)\nODD = Odd()\n"
    with pytest.raises(LoadError, match=r"the parts of its model cannot be examined: .*RuntimeError"):
        load(tmp_path, odd + METHOD.format("ODD"))
