"""Kafka's jars: the locked list, the cache folder and the verified download.

``kafka.lock`` names each jar and its sha256; a file that differs by one bit is never run. jgo downloads the jars from a
Maven repository: its default one, or the mirror in ``MILLSTREAM_MAVEN_REPOSITORY``.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from millstream.embedded_kafka.errors import BrokerError

KAFKA_VERSION: Final = "4.3.1"
LOCK_FILE: Final = Path(__file__).with_name("kafka.lock")
_PARALLEL: Final = 8
_TRIES: Final = 3
_TIMEOUT_SECONDS: Final = 30


@dataclass(frozen=True)
class Jar:
    """One jar of the lock file."""

    coordinate: str
    """``group:artifact:version``"""
    sha256: str

    @property
    def file_name(self) -> str:
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"


def read_lock(text: str) -> tuple[Jar, ...]:
    """Return the jars of a lock file: each line has a sha256 and a coordinate; ``#`` begins a comment.

    >>> read_lock("a" * 64 + "  org.example:thing:1.0")[0].file_name
    'thing-1.0.jar'

    Raises
    ------
    BrokerError
        If a line has another form.
    """
    jars = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        sha256, _, coordinate = line.partition("  ")
        if len(sha256) != 64 or set(sha256) - set("0123456789abcdef") or coordinate.count(":") != 2:
            raise BrokerError(f"{LOCK_FILE.name}, line {number}, is no sha256 and coordinate; restore it from git")
        jars.append(Jar(coordinate, sha256))
    return tuple(jars)


def locked_jars() -> tuple[Jar, ...]:
    """Return the jars of this version of Millstream."""
    return read_lock(LOCK_FILE.read_text(encoding="utf-8"))


def cache_folder() -> Path:
    """Return the folder of downloads: ``MILLSTREAM_CACHE``, else ``~/.cache/millstream``."""
    given = os.environ.get("MILLSTREAM_CACHE")
    if given:
        return Path(given).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "millstream"


def jar_folder() -> Path:
    """Return the folder of this Kafka's jars; `ensure_jars` fills it."""
    return cache_folder() / f"kafka-{KAFKA_VERSION}"


def jar_paths() -> tuple[Path, ...]:
    """Return the path of each jar, present or not."""
    return tuple(jar_folder() / jar.file_name for jar in locked_jars())


def sha256_of(file: Path) -> str | None:
    """Return the file's sha256 in hexadecimal, `None` if there is no such file."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def unfit(jars: Iterable[Jar], folder: Path) -> list[Jar]:
    """Return the jars that are missing from the folder or damaged."""
    wanted = list(jars)
    with ThreadPoolExecutor(_PARALLEL) as pool:
        found = pool.map(sha256_of, (folder / jar.file_name for jar in wanted))
        return [jar for jar, sha256 in zip(wanted, found, strict=True) if sha256 != jar.sha256]


def ensure_jars(say: Callable[[str], None] = lambda _: None) -> tuple[Path, ...]:
    """Return the paths of all jars, each verified; missing or damaged ones are downloaded first.

    Raises
    ------
    BrokerError
        If a jar cannot be downloaded, or the repository's file differs from the one in the lock file.
    """
    jars, folder = locked_jars(), jar_folder()
    try:
        if unfit(jars, folder):
            folder.mkdir(parents=True, exist_ok=True)
            with _one_at_a_time(folder.parent / f"{folder.name}.lock"):
                _download(unfit(jars, folder), folder, say)
    except OSError as error:
        raise BrokerError(
            f"cannot keep Kafka's jars in {folder}: {error.strerror or error}; "
            "make room or access there, or set MILLSTREAM_CACHE to another folder"
        ) from error
    return jar_paths()


def _download(jars: list[Jar], folder: Path, say: Callable[[str], None]) -> None:
    if not jars:
        return
    say(f"downloading Kafka {KAFKA_VERSION}, {len(jars)} files, once")
    started = time.monotonic()
    scratch = Path(tempfile.mkdtemp(prefix="download-", dir=folder.parent))
    try:
        context = _context(scratch)
        with ThreadPoolExecutor(_PARALLEL) as pool:
            for jar, fetched in zip(jars, pool.map(lambda jar: _fetch(context, jar), jars), strict=True):
                accept(jar, fetched, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    say(f"downloaded in {time.monotonic() - started:.0f} s")


def accept(jar: Jar, fetched: Path, folder: Path) -> None:
    """Move a downloaded file to its place if its hash is the locked one, so that only valid files are ever there.

    Raises
    ------
    BrokerError
        If the file has another hash.
    """
    found = sha256_of(fetched)
    if found != jar.sha256:
        raise BrokerError(
            f"the repository's {jar.file_name} has sha256 {found}, not {jar.sha256} as kafka.lock says; "
            "it was not used: try again, or name another repository with MILLSTREAM_MAVEN_REPOSITORY"
        )
    fetched.replace(folder / jar.file_name)


def _context(scratch: Path) -> Any:
    try:
        from jgo.config import GlobalSettings
        from jgo.maven import MavenContext
    except ImportError as error:
        raise BrokerError(
            "the embedded broker needs the package jgo: install millstream[broker], "
            "or name a Kafka of yours with MILLSTREAM_BOOTSTRAP"
        ) from error
    # It warns of mismatches that the lock file already settles.
    logging.getLogger("jgo").setLevel(logging.ERROR)
    mirror = os.environ.get("MILLSTREAM_MAVEN_REPOSITORY")
    repositories = {"mirror": mirror.rstrip("/")} if mirror else GlobalSettings.load().repositories
    return MavenContext(repo_cache=scratch, remote_repos=repositories or None, timeout=_TIMEOUT_SECONDS)


def _fetch(context: Any, jar: Jar) -> Path:
    from requests import RequestException

    group, artifact, version = jar.coordinate.split(":")
    wanted = context.project(group, artifact).at_version(version).artifact()
    for attempt in range(1, _TRIES + 1):
        try:
            return Path(wanted.resolve())
        except (RequestException, RuntimeError) as error:
            # jgo would take the rest of an interrupted download for the whole file.
            wanted.cached_path.unlink(missing_ok=True)
            if attempt == _TRIES:
                raise BrokerError(
                    f"cannot download {jar.file_name} of Kafka ({type(error).__name__}); check the network, name a "
                    "mirror with MILLSTREAM_MAVEN_REPOSITORY, or a Kafka of yours with MILLSTREAM_BOOTSTRAP"
                ) from error
    raise AssertionError("unreachable")


@contextmanager
def _one_at_a_time(file: Path) -> Iterator[None]:
    with file.open("w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def make_lock() -> str:
    """Resolve Kafka and its dependencies, download and hash each jar, and return the text of a new lock file."""
    with tempfile.TemporaryDirectory() as scratch:
        context = _context(Path(scratch))
        root = context.create_dependency(f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}")
        inputs, others = context.resolver.resolve([root])
        needed = [dependency.artifact for dependency in (*inputs, *others)]
        log4j = next(artifact.version for artifact in needed if artifact.artifactId == "log4j-core")
        coordinates = [f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}" for artifact in needed]
        # This jar binds SLF4J to Log4j. Without it the broker would not log why it did not start.
        coordinates.append(f"org.apache.logging.log4j:log4j-slf4j-impl:{log4j}")
        found = {coordinate: sha256_of(_fetch(context, Jar(coordinate, ""))) for coordinate in coordinates}
    lines = (f"{sha256}  {coordinate}" for coordinate, sha256 in sorted(found.items()))
    return "\n".join(("# Kafka's jars, each with its sha256. Made by `make lock`.", *lines, ""))


if __name__ == "__main__":
    LOCK_FILE.write_text(make_lock(), encoding="utf-8")
