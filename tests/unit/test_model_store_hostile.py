"""Hostile pickles: none runs anything, crashes the process, takes two seconds or 256 MB (S1).

They are loaded in a child process whose memory is capped, where a crash would show as its exit code.
"""

from __future__ import annotations

import json
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from model_store import Damaged, PickleNotAllowed, globals_in

_CANARY = "this-file-must-not-appear"


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def named(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


def called(module: str, name: str, *arguments: bytes) -> bytes:
    return named(module, name) + b"(" + b"".join(arguments) + b"tR"


def whole(body: bytes) -> bytes:
    return b"\x80\x05" + body + b"."


TOUCH = text(f"touch {_CANARY}")
CODE = text(f"open({_CANARY!r}, 'w').close()")
RANDOM = named("random", "Random")
LOGISTIC = named("river.linear_model.log_reg", "LogisticRegression")


def get(owner: bytes, name: str) -> bytes:
    return called("builtins", "getattr", owner, text(name))


def _callables() -> dict[str, bytes]:
    """Return calls of what runs code or touches files, by the name it has in its own module."""
    command = {
        ("os", "system"),
        ("posix", "system"),
        ("os", "popen"),
        ("subprocess", "Popen"),
        ("subprocess", "call"),
        ("subprocess", "getoutput"),
        ("asyncio", "create_subprocess_shell"),
        ("pty", "spawn"),
    }
    code = {
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("builtins", "__import__"),
        ("builtins", "open"),
        ("timeit", "timeit"),
        ("cProfile", "run"),
        ("pdb", "run"),
        ("code", "interact"),
        ("runpy", "run_path"),
        ("ctypes", "CDLL"),
        ("importlib", "import_module"),
        ("pydoc", "locate"),
        ("pkgutil", "resolve_name"),
        ("marshal", "loads"),
        ("pickle", "loads"),
        ("_pickle", "loads"),
        ("joblib", "load"),
        ("joblib.numpy_pickle", "load"),
        ("numpy", "load"),
        ("numpy", "fromfile"),
        ("types", "FunctionType"),
        ("types", "CodeType"),
        ("operator", "attrgetter"),
        ("operator", "methodcaller"),
        ("builtins", "setattr"),
        ("builtins", "globals"),
        ("shutil", "rmtree"),
        ("socket", "create_connection"),
        ("webbrowser", "open"),
        ("copyreg", "__newobj__"),
        ("copyreg", "_reconstructor"),
        ("sys", "exit"),
        ("__main__", "child"),
        ("", "system"),
        ("os\0", "system"),
        ("builtins", "range"),
        ("builtins", "bytearray"),
        ("river.datasets", "Phishing"),
        ("river.stream", "Cache"),
    }
    return {f"{module}.{name}": whole(called(module, name, TOUCH)) for module, name in command} | {
        f"{module}.{name}": whole(called(module, name, CODE)) for module, name in code
    }


CASES: dict[str, bytes] = {
    **_callables(),
    # names with dots, through modules that are allowed
    "dotted river.datasets.base": whole(called("river.datasets.base", "os.system", TOUCH)),
    "dotted river": whole(called("river", "datasets.base.os.system", TOUCH)),
    "dotted allowed module": whole(called("random", "_os.system", TOUCH)),
    "dotted allowed class": whole(named("random", "Random.__init__.__globals__")),
    "dotted mro": whole(called("collections", "deque.__mro__.__class__", TOUCH)),
    "dotted collections": whole(called("collections", "_sys.modules.get", text("os"))),
    # getattr and its chains
    "getattr of a class": whole(get(RANDOM, "__init__")),
    "getattr of a method": whole(get(get(RANDOM, "gauss"), "__globals__")),
    "getattr of a string": whole(get(text("{0.__class__}"), "format")),
    "getattr of a type": whole(get(named("builtins", "str"), "__subclasses__")),
    "getattr of a model": whole(get(LOGISTIC + b")\x81", "__class__")),
    "getattr of getattr": whole(get(named("builtins", "getattr"), "__globals__")),
    "getattr with a default": whole(named("builtins", "getattr") + b"(" + RANDOM + text("x") + text("y") + b"tR"),
    "getattr of no string": whole(named("builtins", "getattr") + RANDOM + b"N\x86R"),
    # every way of making an object
    "partial": whole(called("functools", "partial", named("os", "system"), TOUCH)),
    "NEWOBJ": whole(named("subprocess", "Popen") + TOUCH + b"\x85\x81"),
    "NEWOBJ_EX": whole(named("subprocess", "Popen") + b")}" + text("args") + TOUCH + b"s\x92"),
    "BUILD": whole(LOGISTIC + b")\x81}" + text("optimizer") + named("os", "system") + b"sb"),
    "BUILD of a setstate": whole(LOGISTIC + b")\x81}" + text("__setstate__") + named("builtins", "eval") + b"sbCb"),
    "setstate in compiled code": whole(
        named("river._river_rust.stats", "RsQuantile") + b")\x81C\x08\xff" + b"\xff" * 7 + b"b"
    ),
    "array from nonsense": whole(called("numpy._core.numeric", "_frombuffer", TOUCH, text("O"), b"N", text("C"))),
    "endless iterator": whole(
        called("collections", "deque", called("builtins", "iter", named("builtins", "int"), b"K\x01"))
    ),
    "range made into a list": whole(called("builtins", "list", called("builtins", "range", b"J\xff\xff\xff\x7f"))),
    "INST": b"(S'" + b"touch x" + b"'\nios\nsystem\n.",
    "INST in protocol 5": whole(b"(" + TOUCH + b"ios\nsystem\n"),
    "OBJ": whole(b"(" + named("os", "system") + TOUCH + b"o"),
    "GLOBAL, protocol 0": b"cos\nsystem\n(S'touch x'\ntR.",
    "GLOBAL, protocol 2": b"\x80\x02cos\nsystem\nX\x01\x00\x00\x00x\x85R.",
    "GLOBAL in protocol 5": whole(b"cos\nsystem\n" + TOUCH + b"\x85R"),
    "EXT1": whole(b"\x82\x01" + TOUCH + b"\x85R"),
    "EXT2": whole(b"\x83\x01\x00" + TOUCH + b"\x85R"),
    "EXT4": whole(b"\x84\x01\x00\x00\x00" + TOUCH + b"\x85R"),
    "PERSID": whole(b"Pos.system\n"),
    "BINPERSID": whole(TOUCH + b"Q"),
    "NEXT_BUFFER": whole(b"\x97"),
    "READONLY_BUFFER": whole(b"N\x98"),
    "name that is no string": whole(b"NN\x93"),
    # memo bombs: 5 bytes that make Python clear 32 GB
    "BINPUT": whole(b"Nq\xff"),
    "LONG_BINPUT": whole(b"Nr\xff\xff\xff\x7f"),
    "PUT": whole(b"Np2147483647\n"),
    "LONG_BINGET": whole(b"j\xff\xff\xff\x7f"),
    # lengths that are not there
    "BINBYTES of 4 GB": whole(b"B\xff\xff\xff\xff"),
    "BINBYTES8": whole(b"\x8e" + b"\xff" * 7 + b"\x7f"),
    "BINUNICODE of 4 GB": whole(b"X\xff\xff\xff\xff"),
    "BINUNICODE8": whole(b"\x8d" + b"\xff" * 7 + b"\x3f"),
    "BYTEARRAY8": whole(b"\x96" + b"\x00" * 4 + b"\x01" + b"\x00" * 3),
    "LONG4 of 2 GB": whole(b"\x8b\xff\xff\xff\x7f"),
    "LONG4 below zero": whole(b"\x8b\xff\xff\xff\xff"),
    "LONG1 cut short": whole(b"\x8a\xff"),
    "FRAME of an exabyte": whole(b"\x95" + b"\x00" * 7 + b"\x10N"),
    "two frames in one": whole(b"\x95\x0b" + b"\x00" * 7 + b"\x95\xff" + b"\x00" * 7 + b"N"),
    # depth, and stacks that do not hold what is asked of them
    "tuples a million deep, hashed": whole(b"}" + b")" + b"\x85" * 1_000_000 + b"Ns"),
    "tuples a million deep, remembered": whole(b"}" + b")" + b"\x85\x94" * 1_000_000 + b"Ns"),
    "tuples of marks": whole(b"}" + b"(" * 500_000 + b"t" * 500_000 + b"Ns"),
    "marks without end": whole(b"(" * 1_000_000),
    "STOP on an empty stack": whole(b""),
    "REDUCE on an empty stack": whole(b"R"),
    "BUILD on nothing": whole(b"Nb"),
    "SETITEMS on no dict": whole(b"N(NNu"),
    "unhashable key": whole(b"}]Ns"),
    "empty": b"",
    "nothing but a head": b"\x80\x05",
    "protocol 6": b"\x80\x06N.",
    "after the end": whole(b"N") + TOUCH,
    "no end": b"\x80\x05N",
}

# Shared references and nested lists are no harm by themselves: they load at once, or are refused.
HARMLESS: dict[str, bytes] = {
    "a billion laughs": whole(
        b"]\x94" + b"".join(b"](" + b"h" + bytes([n]) + (b"h" + bytes([n])) * 9 + b"e\x94" for n in range(30))
    ),
    "lists a million deep": whole(b"]" * 1_000_000 + b"a" * 999_999),
}

_CHILD = """
import copyreg, json, pathlib, resource, sys, time
import river.linear_model, river.datasets, numpy, sklearn
from model_store import StoreError, loads
from model_store import restricted_pickle
copyreg.add_extension("os", "system", 1)
restricted_pickle.allowed_globals()
size = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (256 << 20),) * 2)
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    data, start = path.read_bytes(), time.process_time()
    try:
        outcome = loads(data) and "loaded"
    except BaseException as error:
        outcome = type(error).__name__
    print(json.dumps([path.name, str(outcome), time.process_time() - start]), flush=True)
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, float]]:
    """Load all of them in a child, and return what came of each and the seconds it took."""
    place = tmp_path_factory.mktemp("hostile")
    pickles, empty = place / "pickles", place / "cwd"
    pickles.mkdir()
    empty.mkdir()
    numbered = {f"{number:03}": name for number, name in enumerate([*CASES, *HARMLESS])}
    for number, name in numbered.items():
        (pickles / number).write_bytes({**CASES, **HARMLESS}[name])
    # The child imports the same packages as this process.
    code = f"import sys; sys.path[:0] = {sys.path!r}\n{_CHILD}"
    child = subprocess.run(
        [sys.executable, "-c", code, str(pickles)], cwd=empty, capture_output=True, text=True, timeout=120, check=False
    )
    lines = [json.loads(line) for line in child.stdout.splitlines()]
    assert child.returncode == 0, (
        f"crashed after {numbered[lines[-1][0]] if lines else 'nothing'}: {child.stderr[-500:]}"
    )
    assert list(empty.iterdir()) == [], "something was executed"
    return {numbered[number]: (outcome, seconds) for number, outcome, seconds in lines}


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_hostile_pickle_is_refused(name: str, outcomes: dict[str, tuple[str, float]]) -> None:
    outcome, seconds = outcomes[name]
    assert outcome in ("PickleNotAllowed", "Damaged")
    assert seconds < 2


@pytest.mark.parametrize("name", sorted(HARMLESS))
def test_what_only_looks_large_takes_no_time(name: str, outcomes: dict[str, tuple[str, float]]) -> None:
    outcome, seconds = outcomes[name]
    assert outcome in ("loaded", "Damaged")
    assert seconds < 2


def test_the_canary_would_sing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pickles are well made: Python's own unpickler runs them."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(CASES["os.system"])
    assert (tmp_path / _CANARY).exists()


@pytest.mark.parametrize(
    "body",
    [
        named("os", "system"),
        text("os") + b"\x94" + text("system") + b"\x94" + b"h\x00h\x01\x93",
        text("os") + text("system") + text("harmless") + b"0\x93",
        text("os") + text("collections") + b"0" + text("system") + b"\x93",
        text("os") + b"2" + b"0" + text("system") + b"\x93",
        text("os") + text("system") + b"(" + text("river") + text("x") + b"1\x93",
        text("os") + b"q\x07" + b"0h\x07" + text("system") + b"\x93",
        b"cos\nsystem\n",
        b"(ios\nsystem\n",
    ],
    ids=["plain", "memo", "popped after", "popped between", "doubled", "marked", "put", "by text", "inst"],
)
def test_names_are_found_whatever_is_pushed_around_them(body: bytes) -> None:
    assert ("os", "system") in globals_in(whole(body))


@pytest.mark.parametrize("body", [b"NN\x93", text("os") + b"N\x93", b"\x82\x01", b"Px\n", b"NQ"])
def test_a_name_that_cannot_be_read_off_is_refused(body: bytes) -> None:
    with pytest.raises(PickleNotAllowed):
        globals_in(whole(body))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80\x05h\x00.", b"\x80\x05\x93.", b"\x80\x05X\xff\xff\xff\xffx"])
def test_names_of_nonsense_are_refused(data: bytes) -> None:
    with pytest.raises(Damaged):
        globals_in(data)
