"""Python environments of the peers: their requirements conflict with Millstream's, and Evidently's with the others'."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Final

VARIABLE: Final = "MILLSTREAM_PEERS"
_HERE: Final = Path(__file__).resolve().parent
_DEFAULT: Final = _HERE.parent.parent / ".venv-peers" / "bin" / "python"
EVIDENTLY_VARIABLE: Final = "MILLSTREAM_EVIDENTLY"
_EVIDENTLY: Final = _HERE.parent.parent / ".venv-evidently" / "bin" / "python"
SCHEMAS: Final = _HERE.parent.parent / "schemas" / "avro"
_VERSIONS: Final = """
import json, sys
from importlib.metadata import distributions
names = ("evidently", "quixstreams", "confluent-kafka", "river", "fastapi", "uvicorn", "uvloop", "httptools")
found = {each.name: each.version for each in distributions()}
print(json.dumps({"Python": sys.version.split()[0], **{name: found[name] for name in names if name in found}}))
"""


def python() -> Path | None:
    """Return the interpreter of the peers' environment, `None` if there is none: `make peers` makes it."""
    path = Path(os.environ.get(VARIABLE) or _DEFAULT)
    return path if path.exists() else None


def evidently() -> Path | None:
    """Return the interpreter of Evidently's environment, `None` if there is none: `make peers` makes it."""
    path = Path(os.environ.get(EVIDENTLY_VARIABLE) or _EVIDENTLY)
    return path if path.exists() else None


def versions(interpreter: Path) -> dict[str, str]:
    """Return the versions of Python and of the peers' packages that are installed."""
    said = subprocess.run([interpreter, "-c", _VERSIONS], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(said.stdout)
    return found


def program(name: str) -> Path:
    """Return the path of a peer's program."""
    return _HERE / f"{name}.py"
