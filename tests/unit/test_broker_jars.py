"""Only the jars that the lock file names are ever run."""

from __future__ import annotations

import hashlib
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from millstream.embedded_kafka import jars
from millstream.embedded_kafka.errors import BrokerError
from millstream.embedded_kafka.jars import Jar, accept, ensure_jars, locked_jars, read_lock, unfit

CONTENT = b"a jar"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
JAR = Jar("org.example:thing:1.0", SHA256)


class Repository(socketserver.ThreadingTCPServer):
    """A Maven repository that answers every request with the same bytes, or with 404."""

    daemon_threads = True
    content: bytes | None = CONTENT
    asked = 0


class Answer(BaseHTTPRequestHandler):
    server: Repository

    def do_GET(self) -> None:
        self.server.asked += 1
        content = self.server.content
        if content is None or not self.path.endswith(".jar"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    with Repository(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("MILLSTREAM_MAVEN_REPOSITORY", f"http://127.0.0.1:{server.server_address[1]}/maven/")
        monkeypatch.setenv("MILLSTREAM_CACHE", str(tmp_path / "cache"))
        lock = tmp_path / "kafka.lock"
        lock.write_text(f"{SHA256}  {JAR.coordinate}\n")
        monkeypatch.setattr(jars, "LOCK_FILE", lock)
        yield server
        server.shutdown()
        thread.join()


def test_the_lock_file_names_kafka_and_its_logging() -> None:
    names = {jar.file_name for jar in locked_jars()}
    assert f"kafka_2.13-{jars.KAFKA_VERSION}.jar" in names
    assert any(name.startswith("log4j-slf4j-impl-") for name in names)
    assert len(names) == len(locked_jars())


@pytest.mark.parametrize("line", ["abc  a:b:1", "g" * 64 + "  a:b:1", "a" * 64 + "  a:b", "a" * 64 + " a:b:1"])
def test_a_line_that_is_no_sha256_and_coordinate_is_refused_by_number(line: str) -> None:
    with pytest.raises(BrokerError, match=r"line 2, .*restore it from git"):
        read_lock(f"# a comment\n{line}\n")


def test_missing_and_damaged_jars_are_unfit(tmp_path: Path) -> None:
    assert unfit([JAR], tmp_path) == [JAR]
    (tmp_path / JAR.file_name).write_bytes(CONTENT)
    assert unfit([JAR], tmp_path) == []
    (tmp_path / JAR.file_name).write_bytes(CONTENT[:-1] + b"s")
    assert unfit([JAR], tmp_path) == [JAR]


def test_a_download_with_another_sha256_never_reaches_its_place(tmp_path: Path) -> None:
    (tmp_path / "fetched").write_bytes(b"not the jar")
    with pytest.raises(BrokerError, match=f"not {SHA256}.*MILLSTREAM_MAVEN_REPOSITORY"):
        accept(JAR, tmp_path / "fetched", tmp_path)
    assert not (tmp_path / JAR.file_name).exists()


def test_jars_come_from_the_repository_in_the_environment_once(repository: Repository) -> None:
    said: list[str] = []
    (path,) = ensure_jars(said.append)
    assert path.read_bytes() == CONTENT
    assert "downloading" in said[0]
    asked = repository.asked
    assert ensure_jars(said.append) == (path,)
    assert repository.asked == asked


def test_a_damaged_jar_is_downloaded_again(repository: Repository) -> None:
    (path,) = ensure_jars()
    path.write_bytes(b"damaged")
    ensure_jars()
    assert path.read_bytes() == CONTENT


def test_a_repository_with_another_file_is_refused(repository: Repository) -> None:
    repository.content = b"something else"
    with pytest.raises(BrokerError, match=r"thing-1\.0\.jar has sha256"):
        ensure_jars()
    assert list(jars.jar_folder().iterdir()) == []


def test_a_repository_without_the_file_is_one_clear_line(repository: Repository) -> None:
    repository.content = None
    with pytest.raises(BrokerError, match=r"cannot download thing-1\.0\.jar.*MILLSTREAM_BOOTSTRAP"):
        ensure_jars()


def test_no_network_is_one_clear_line(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLSTREAM_MAVEN_REPOSITORY", "http://127.0.0.1:1/")
    with pytest.raises(BrokerError, match="check the network") as caught:
        ensure_jars()
    assert "\n" not in str(caught.value)


def test_a_cache_that_cannot_be_made_is_one_clear_line(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MILLSTREAM_CACHE", str(tmp_path / "file"))
    with pytest.raises(BrokerError, match="set MILLSTREAM_CACHE to another folder"):
        ensure_jars()
