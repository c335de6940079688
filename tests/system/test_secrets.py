"""A secret given in any place where one can be given is found nowhere else: no log, error, file, topic (S8)."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from system.oracle import Stream, read_all

from schemas.topics import KINDS

CANARY = "c4n4ry-Tr0ub4dor-secret"
CONTROL = "n0-secret-and-so-to-be-found"
_SECONDS = 120
_TOML = f"""
[kafka]
sasl_plain_username = "ann"
sasl_plain_password = "{CANARY}-toml"
ssl_password = "{CANARY}-toml"
"""
_REFUSED = (
    {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "sasl_plain_username": "ann"},
    {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "SCRAM-SHA-256", "sasl_plain_username": "ann"},
    {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"},
    {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": CANARY},
    {"security_protocol": CANARY},
    {"security_protocol": "SSL", "ssl_keyfile": "client.key", "ssl_certfile": "client.key"},
    {"security_protocol": "SSL", "ssl_cafile": "client.key"},
    {"security_protocol": "SSL", "ssl_keyfile": "none.key", "ssl_certfile": "none.key"},
)


@pytest.fixture
def stream(bootstrap: str, prefix: str, tmp_path: Path) -> Stream:
    return Stream("phishing", bootstrap, prefix, tmp_path / "home")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Return a folder with a configuration and a key file, in which commands are run."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "millstream.toml").write_text(_TOML)
    (folder / "client.key").write_text(f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n")
    return folder


class Said:
    """Runs commands with the canary in their environment, and keeps all they print."""

    def __init__(self, stream: Stream, work: Path, client: str) -> None:
        self.stream, self.work, self.client = stream, work, client
        self.all: list[str] = []

    def __call__(self, *words: str, fails: bool | None = False, **options: str) -> str:
        given = {"sasl_plain_password": CANARY, "ssl_password": CANARY, **options}
        environment = {f"MILLSTREAM_KAFKA_{name.upper()}": value for name, value in given.items()}
        environment |= {"MILLSTREAM_REGISTRY_URL": "http://127.0.0.1:1", "MILLSTREAM_REGISTRY_USER": "ann"}
        environment |= {"MILLSTREAM_REGISTRY_PASSWORD": CANARY, "MILLSTREAM_CLIENT": self.client}
        done = subprocess.run(
            [sys.executable, "-P", "-m", "millstream", *words],
            cwd=self.work, env=self.stream.environment() | environment,
            capture_output=True, text=True, timeout=_SECONDS, check=False,
        )  # fmt: skip
        self.all.append(f"{words}: {done.stdout}{done.stderr}")
        assert fails is None or (done.returncode != 0) == fails, done.stdout + done.stderr
        if fails:
            assert done.stderr.splitlines()[-1].startswith("millstream: error: ")
        return done.stdout + done.stderr


def places(said: Said) -> Iterator[tuple[str, bytes]]:
    """Yield everything that the commands left: what they printed, files of the home, every record on every topic."""
    for number, text in enumerate(said.all):
        yield f"output {number} {text[:60]}", text.encode()
    for path in said.stream.home.rglob("*"):
        if path.is_file():
            yield str(path), path.read_bytes()
    for kind in KINDS:
        for record in read_all(said.stream.bootstrap, said.stream.names.topic(kind)):
            yield (
                f"{kind} {record.offset}",
                b"\0".join([record.key or b"", record.value or b"", repr(record.headers).encode()]),
            )


def forms(secret: str) -> list[bytes]:
    """Return how a secret would look: plain, and in base64 wherever its first letter falls."""
    coded = [base64.b64encode(b" " * shift + secret.encode())[shift + 1 : -4] for shift in range(3)]
    return [secret.encode(), *coded]


def found(said: Said, secret: str) -> list[str]:
    return [where for where, data in places(said) for form in forms(secret) if form in data]


@pytest.mark.full
def test_a_secret_is_found_nowhere_but_where_it_was_given(
    stream: Stream, work: Path, client: str, rounds: Callable[[int, int], int]
) -> None:
    said = Said(stream, work, client)
    said("topics", "create", "phishing")
    said("publish", "phishing", "river:Phishing", "--limit", "60")
    said("run", "phishing", "--until-idle", "1s")
    said("pause", "phishing", "--why", CONTROL)
    said("resume", "phishing")
    for words in (("status",), ("models", "list"), ("models", "show"), ("predictions",), ("topics", "describe")):
        said(*words, "phishing", "--json")
    said("keys", "rotate")
    said("keys", "list")
    (work / "millstream.toml").unlink()
    fail_in_every_way(said, _REFUSED[: rounds(2, len(_REFUSED))])
    assert found(said, CANARY) == []
    # The search does find what is there.
    assert any(where.startswith("decisions") for where in found(said, CONTROL))
    assert any(where.startswith("models") for where in found(said, CONTROL))


def fail_in_every_way(said: Said, refused: Sequence[dict[str, str]]) -> None:
    """The secret under a wrong name, of a wrong type, in files that cannot be read, and refused by the other side."""
    status = ("status", "phishing")
    assert "is no option of kafka-python" in said(*status, fails=True, sasl_password=CANARY)
    assert "must be of type int" in said(*status, fails=True, retry_backoff_ms=CANARY)
    assert "must be of type bool" in said(*status, fails=True, ssl_check_hostname=CANARY)
    assert "no counterpart in client" in said(*status, "--client", "librdkafka", fails=True, socks5_proxy=CANARY)
    # Each waits for an answer that never comes: together they wait no longer than one.
    with ThreadPoolExecutor(len(refused)) as pool:
        done = [pool.submit(said, *status, fails=None, **options) for options in refused]
    assert sum("millstream: error: " in each.result() for each in done) >= len(refused) - 2
    toml = said.work / "millstream.toml"
    for text in (
        f"[kafka]\nsasl_plain_password = {CANARY}\n",
        f'[kafka]\nsasl_plain_passwort = "{CANARY}"\n',
        f'sasl_plain_password = "{CANARY}"\n',
        f'[kafka]\nretry_backoff_ms = ["{CANARY}"]\nsasl_plain_password = ["{CANARY}"]\n[',
    ):
        toml.write_text(text)
        said(*status, fails=True)
