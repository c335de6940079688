"""A token provider of the user's own: what may be named, and what is said of what does not work."""

from __future__ import annotations

import base64
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from millstream.config.errors import SettingsError
from millstream.config.kafka_options import client_options
from runtime.kafka_client.diagnosis import explain
from runtime.kafka_client.oauth_tokens import TokenError, TokenProvider, load_token_provider

MODULE = """
import os

class Provider:
    made = 0

    def __init__(self):
        Provider.made += 1

    def token(self):
        return "a-token"

    def extensions(self):
        return {"tenant": "ann"}

class Plain:
    def token(self):
        return os.environ["WHAT"]

class Failing:
    def token(self):
        raise ConnectionError("the issuer is\\naway")

class Empty:
    def token(self):
        return ""

class Bytes:
    def token(self):
        return b"canary-secret"

class Unmade:
    def __init__(self):
        raise KeyError("CLIENT_ID")

def factory():
    return Provider()

def nothing():
    return None

ready = Provider()
number = 7
"""
OAUTH = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "OAUTHBEARER"}


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "issuer_of_tests.py").write_text(MODULE)
    (tmp_path / "issuer_broken.py").write_text("import issuer_missing")
    (tmp_path / "issuer_raising.py").write_text("raise RuntimeError('no licence')")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in ("issuer_of_tests", "issuer_broken", "issuer_raising"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["Provider", "factory", "ready"])
def test_a_class_a_function_and_an_object_are_taken(name: str) -> None:
    provider = load_token_provider(f"issuer_of_tests:{name}")
    assert provider.token() == "a-token"
    assert provider.extensions() == {"tenant": "ann"}


def test_it_is_made_once_for_all_clients_of_a_process() -> None:
    options = client_options({**OAUTH, "sasl_oauth_token_provider": "issuer_of_tests:Provider"})
    import issuer_of_tests  # type: ignore[import-not-found, unused-ignore]

    made = issuer_of_tests.Provider.made
    provider = options["sasl_oauth_token_provider"]
    assert isinstance(provider, TokenProvider)
    assert [provider.token() for _ in range(3)] == ["a-token"] * 3
    assert issuer_of_tests.Provider.made == made


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("issuer_of_tests", "must be written module:object"),
        ("issuer_nowhere:x", "issuer_nowhere, which cannot be imported: install it, or put its folder on PYTHONPATH"),
        ("issuer_broken:x", "issuer_broken, which cannot be imported .it imports issuer_missing."),
        ("issuer_raising:x", "importing it raised RuntimeError: no licence"),
        ("issuer_of_tests:x", "issuer_of_tests has no x"),
        ("issuer_of_tests:number", "neither has a method token"),
        ("issuer_of_tests:nothing", "neither has a method token"),
        ("issuer_of_tests:Unmade", "calling it raised KeyError: 'CLIENT_ID'"),
    ],
)
def test_what_cannot_be_loaded_is_said_in_a_line(name: str, said: str) -> None:
    with pytest.raises(SettingsError, match=f"MILLSTREAM_KAFKA_SASL_OAUTH_TOKEN_PROVIDER.*{said}") as caught:
        client_options({**OAUTH, "sasl_oauth_token_provider": name})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Failing", "raised ConnectionError: the issuer is away"),
        ("Empty", "returned an empty text: token.. must return a text"),
        ("Bytes", "returned bytes"),
    ],
)
def test_no_token_is_said_with_the_providers_name_and_never_shown(name: str, said: str) -> None:
    provider = load_token_provider(f"issuer_of_tests:{name}")
    with pytest.raises(TokenError, match=f"issuer_of_tests:{name} {said}") as caught:
        provider.token()
    assert "canary-secret" not in str(caught.value)


def test_a_connection_that_comes_to_nothing_is_explained_by_the_provider() -> None:
    options = {**OAUTH, "sasl_oauth_token_provider": load_token_provider("issuer_of_tests:Failing")}
    assert "raised ConnectionError" in explain("127.0.0.1:1", options)


def jwt(claims: object) -> str:
    part = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"head.{part}.signature"


@pytest.mark.parametrize(
    ("token", "seconds"),
    [
        (jwt({"exp": 1_000_600}), 600),
        (jwt({"exp": 1_000_600.5}), 600.5),
        # Of an expired one, the broker says why it is refused.
        (jwt({"exp": 999_000}), 10),
        # Of no other token is it known.
        (jwt({"exp": "soon"}), 60),
        (jwt({"exp": math.inf}), 60),
        (jwt({"exp": True}), 60),
        (jwt(["exp"]), 60),
        ("opaque", 60),
        ("a.ä.b", 60),
        ("a.!!!!.b", 60),
        ("", 60),
    ],
)
def test_a_token_is_asked_for_again_when_it_says_so(
    token: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.kafka_client.oauth_tokens.time.time", lambda: 1_000_000.0)
    assert load_token_provider("issuer_of_tests:ready").expires(token) == 1_000_000 + seconds
