"""Stream file as a module: found, named, and imported with its folder last on the import path."""

from __future__ import annotations

import ast
import contextlib
import difflib
import importlib
import importlib.machinery
import importlib.util
import keyword
import sys
import traceback
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from types import CodeType, ModuleType
from typing import Final, NamedTuple

from millstream.stream.errors import LoadError

OURS: Final = frozenset(
    {"runtime", "schemas", "model_store", "producers", "consumers", "server", "millstream", "streams", "tests"}
)
READY_MADE: Final = "streams"
OWN_NAME: Final = "millstream_file_"  # prefix of the module name of a stream file that is named like another module
CARRIED: Final = "<version code "  # prefix of the file names of code that a version carries
_HERE: Final = Path(__file__).resolve().parents[2]


class StreamFile(NamedTuple):
    """A file and the name of its module, which the pickles of its classes also contain."""

    path: Path
    module: str

    @property
    def is_ready_made(self) -> bool:
        return self.module.startswith(f"{READY_MADE}.")


def ready_made() -> dict[str, Path]:
    """Return the streams that come with Millstream, by name."""
    found = Path(str(resources.files(READY_MADE))).glob("*.py")
    return {path.stem.replace("_", "-"): path for path in sorted(found) if not path.stem.startswith("_")}


def find(ref: str) -> StreamFile:
    """Return the file that `ref` means: a path, or the name of a ready-made stream.

    Raises
    ------
    LoadError
        If there is no such file, or its name cannot be a module name.
    """
    known = ready_made()
    path = Path(ref)
    name = ref.replace("_", "-")
    if name in known and not path.is_file():
        return StreamFile(known[name], f"{READY_MADE}.{known[name].stem}")
    if path.is_dir():
        raise LoadError(f"{ref} is a folder; name the stream file in it, such as {path / 'stream.py'}")
    if not path.is_file():
        raise LoadError(not_found(ref))
    path = path.resolve()
    if path.suffix != ".py":
        raise LoadError(f"{ref} is no Python file: a stream file's name ends in .py")
    if path in {each.resolve() for each in known.values()}:
        return StreamFile(path, f"{READY_MADE}.{path.stem}")
    _require_identifier(path)
    return StreamFile(path, module_name(path))


def module_name(path: Path) -> str:
    """Return the name under which a stream file is imported: its own, or one that hides no other module.

    A file that is named like one of our packages, like an installed module or like another stream file that is loaded
    gets the prefix `OWN_NAME`. Imports of its plain name go on meaning the other module.
    """
    stem = path.stem
    if stem not in OURS and hidden_by(stem, path) is None:
        return stem
    own, number = OWN_NAME + stem, 2
    while hidden_by(own, path) is not None:
        own, number = f"{OWN_NAME}{stem}_{number}", number + 1
    return own


def not_found(ref: str) -> str:
    """Return the message that `ref` is not a stream, with similar names."""
    known = list(ready_made())
    ready = f"ready-made streams are {', '.join(known)}"
    path = Path(ref)
    near = difflib.get_close_matches(path.stem.replace("_", "-"), known, n=1)
    with_ending = path.with_name(f"{path.name}.py") if path.name else path
    if with_ending.is_file():
        return f"there is no stream {ref!r}; did you mean the file {with_ending}? ({ready})"
    if path.suffix == ".py" or len(path.parts) > 1:
        beside = [each.name for each in path.parent.glob("*.py")] if path.parent.is_dir() else []
        alike = difflib.get_close_matches(path.name, beside, n=1)
        hint = f"; did you mean {path.parent / alike[0]}?" if alike else ""
        return f"there is no file {ref}{hint} ({ready})"
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"there is no stream {ref!r}{hint}: name its file ({ref}.py) or a ready-made one: {', '.join(known)}"


def require_module_name(stem: str, path: Path) -> None:
    """Check that a new file can be imported under this name, without a conflict with another module.

    Raises
    ------
    LoadError
        If it cannot.
    """
    _require_identifier(path)
    if stem in OURS:
        raise LoadError(f"{path.name}: {stem!r} is the name of one of Millstream's own packages; rename the file")
    where = hidden_by(stem, path)
    if where is not None:
        raise LoadError(f"{path.name}: there is a module {stem!r} already ({where}); rename the file")


def _require_identifier(path: Path) -> None:
    if not path.stem.isidentifier() or keyword.iskeyword(path.stem):
        raise LoadError(f"{path.name}: {path.stem!r} cannot be a module's name; rename it to letters, digits and _")


def hidden_by(name: str, path: Path) -> str | None:
    """Return the module that conflicts with this name, `None` if there is only `path` itself."""
    if name in sys.stdlib_module_names:
        return "Python's own"
    loaded = sys.modules.get(name)
    try:
        spec = importlib.util.find_spec(name) if loaded is None else loaded.__spec__
    except (ImportError, ValueError):
        spec = None
    if loaded is None and spec is None:
        return None
    origin = getattr(loaded, "__file__", None) or (spec.origin if spec is not None else None)
    if path.with_suffix("") in [Path(each).resolve() for each in getattr(loaded, "__path__", ())]:
        return None
    if origin is None:
        # A plain folder of that name is a namespace package, and a module takes precedence over it.
        return "built in" if loaded is not None else None
    if Path(origin).resolve() in {path.resolve(), path.resolve().with_suffix("") / "__init__.py"}:
        return None
    return f"at {origin}"


class _Uncached(importlib.machinery.SourceFileLoader):
    """Always compiles the present source, because Python compares cached code only by size and second.

    For a file that was changed within the same second, Python would run the old code as if it were the new one.
    """

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def load_module(file: StreamFile) -> ModuleType:
    """Return the file's module, imported once in each process.

    Raises
    ------
    LoadError
        If the import fails; the message has the user's file and line, and the error.
    """
    if file.is_ready_made:
        return importlib.import_module(file.module)
    known = sys.modules.get(file.module)
    if known is not None:
        return known
    _require_siblings_visible(file.path)
    _folder_last(file.path.parent)
    loader = _Uncached(file.module, str(file.path))
    spec = importlib.util.spec_from_file_location(file.module, file.path, loader=loader)
    assert spec is not None  # noqa: S101 - a .py file has a loader
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.module] = module
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        sys.modules.pop(file.module, None)
        raise
    except BaseException as error:
        sys.modules.pop(file.module, None)
        raise LoadError(explain(error, file.path)) from error
    return module


def _folder_last(folder: Path) -> None:
    """Put the folder at the end of the import path and nowhere else.

    Millstream's own packages are imported first, because an editable install finds them only after the whole path.
    """
    for package in sorted(OURS - {"tests"}):
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(package)
    here = Path.cwd()
    sys.path[:] = [entry for entry in sys.path if (here if entry == "" else Path(entry)) != folder]
    sys.path.append(str(folder))


def _require_siblings_visible(path: Path) -> None:
    """Raise LoadError for imports of a file beside this one that would get another module, as the folder is last."""
    for name, line in _imports(path):
        beside = next((each for each in _sibling(path.parent, name) if each.is_file()), None)
        if beside is None or beside.resolve() == path.resolve() or _defines_a_stream(beside):
            continue  # another stream file is not what the import means
        if name in OURS:
            where: str | None = "one of Millstream's own packages"
        else:
            where = hidden_by(name, beside)
        if where is not None:
            shown = beside.relative_to(path.parent)
            raise LoadError(f"{path}:{line}: imports {name!r}, which is {where} and not {shown} beside it; rename that")


def _sibling(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.py", folder / name / "__init__.py"


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the top-level names that a file imports; none if it does not parse, which the import reports."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((each.name.partition(".")[0], node.lineno) for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0], node.lineno


def _defines_a_stream(path: Path) -> bool:
    """Tell whether a file imports `Stream`, as every stream file does."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return False
    found = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "millstream")
    return any(each.name == "Stream" for node in found for each in node.names)


def explain(error: BaseException, path: Path) -> str:
    """Return one line: the last line of the user's code that led to the error, and the error.

    The user's code is in the folder of `path`, or carried by a version.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(CARRIED) or _is_own(frame.filename, path)]
    place = f"{own[-1].filename}:{own[-1].lineno}" if own else str(path)
    if isinstance(error, SystemExit):
        return f"{place}: the file ends the program (SystemExit) where it should define a Stream"
    text = " ".join(str(error).split())
    return f"{place}: {type(error).__name__}: {text}" if text else f"{place}: {type(error).__name__}"


def _is_own(filename: str, path: Path) -> bool:
    """Return whether code is the user's: in the stream file's folder, but not in an environment or Millstream's own."""
    if filename.startswith("<"):
        return False  # generated by a library, like the `__init__` of dataclasses
    try:
        file = Path(filename).resolve()
        inside = file.relative_to(path.resolve().parent)
    except (ValueError, OSError):
        return False
    if any(file.is_relative_to(_HERE / package) for package in OURS - {READY_MADE}):
        return False
    return "site-packages" not in inside.parts and not inside.parts[0].startswith(".")


def is_own_module(name: str, path: Path) -> bool:
    """Return whether a module is the stream file itself or one in its folder."""
    if name.partition(".")[0] in OURS and not name.startswith(f"{READY_MADE}."):
        return False
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is not None and _is_own(file, path)
