"""The client of a schema registry, against a server on loopback that is strict about how it is asked."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from registry_server import RegistryServer, registry_server

from millstream.embedded_kafka.server_properties import free_port
from schemas.codec import CodecError
from schemas.schema_registry import Registry, RegistryError, RegistrySettings, UnknownSchema, check_url
from schemas.sources.decoding import decoder
from schemas.sources.source import Source


class Time:
    """A clock that goes on only when somebody waits."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with registry_server() as lent:
        yield lent


def client(*urls: str, watch: Time | None = None, said: list[str] | None = None, **more: Any) -> Registry:
    watch = watch or Time()
    say = (said if said is not None else []).append
    return Registry(RegistrySettings(urls, **{"timeout_s": 2.0, **more}), say, watch.clock, watch.sleep)


NODE = {"type": "record", "name": "N", "fields": [{"name": "n", "type": ["null", "N"]}]}


def test_an_id_is_asked_for_once_and_an_absent_one_again_after_a_while(server: RegistryServer) -> None:
    watch = Time()
    registry = client(server.url, watch=watch)
    for _ in range(3):
        with pytest.raises(UnknownSchema, match=r"knows no schema 1$"):
            registry.schema(1)
    assert server.requests == ["GET /schemas/ids/1"]
    server.add("late", "long")
    with pytest.raises(UnknownSchema):
        registry.schema(1)
    watch.now += 6
    assert [registry.schema(1).text for _ in range(3)] == ['"long"'] * 3
    assert server.requests == ["GET /schemas/ids/1"] * 2


def test_passing_trouble_is_waited_out_and_said_once(server: RegistryServer) -> None:
    server.add("a", "long")
    server.trouble = ["503", "429", "500"]
    said: list[str] = []
    watch = Time()
    assert client(server.url, watch=watch, said=said).schema(1).text == '"long"'
    assert watch.slept == [0.1, 0.2, 0.4]
    assert said == [
        f"waiting for the schema registry: the schema registry at {server.url} answers 503 to /schemas/ids/1"
    ]


def test_what_does_not_pass_is_an_error_of_the_registry_and_never_of_the_message(server: RegistryServer) -> None:
    watch = Time()
    decode = decoder(Source(topic="t"), client(f"http://127.0.0.1:{free_port()}", watch=watch))
    with pytest.raises(RegistryError, match=r"at http://127.0.0.1:\d+ does not answer .*refused") as raised:
        decode(b"\x00\x00\x00\x00\x01a", ())
    assert raised.value.passing
    assert not isinstance(raised.value, CodecError)
    assert 8 < watch.now - 100 <= 10
    assert raised.value.exit_code == 75


def test_another_address_is_asked_and_stayed_with(server: RegistryServer) -> None:
    server.add("a", "long")
    server.add("b", "string")
    watch = Time()
    registry = client(f"http://127.0.0.1:{free_port()}/", server.url + "/", watch=watch)
    assert registry.schema(1).text == '"long"'
    assert registry.schema(2).text == '"string"'
    assert watch.slept == []


def test_a_server_that_hangs_or_drips_is_left_after_its_time(server: RegistryServer) -> None:
    stop = threading.Event()

    def drip(listening: socket.socket) -> None:
        opened, _ = listening.accept()
        with opened:
            opened.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while not stop.wait(0.05):
                opened.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drip, args=(listening,))
        thread.start()
        began = time.monotonic()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(RegistryError, match=r"does not answer .no answer within"):
            client(address, timeout_s=0.2, patience_s=0).schema(1)
        assert time.monotonic() - began < 20  # a drop every 0.05 s would keep it for ever
        stop.set()
        thread.join()


def test_user_and_password_are_sent_and_never_said(server: RegistryServer) -> None:
    with registry_server("me", "pass:word") as guarded:
        guarded.add("a", "long")
        known = {"user": "me", "password": "pass:word"}
        assert client(guarded.url, **known).schema(1).text == '"long"'
        for user, password in (("me", "wrong-secret"), (None, None)):
            registry = client(guarded.url, user=user, password=password)
            with pytest.raises(RegistryError, match=r"denies access .401.*MILLSTREAM_REGISTRY_USER") as raised:
                registry.schema(1)
            assert not raised.value.passing
            assert "secret" not in str(raised.value) + repr(RegistrySettings(("u",), user, password))


def test_a_redirect_is_not_followed_for_the_password_would_go_along(server: RegistryServer) -> None:
    server.trouble = ["302"]
    with pytest.raises(RegistryError, match="answers 302"):
        client(server.url, patience_s=0).schema(1)
    assert server.requests == ["GET /schemas/ids/1"]


@pytest.mark.parametrize("trouble", ["200", "302", "404", "500", "501"])
def test_what_a_registry_does_not_say_itself_is_no_word_on_a_schema_and_may_pass(
    server: RegistryServer, trouble: str
) -> None:
    server.add("a", "long")
    server.trouble = [trouble] * 2
    with pytest.raises(RegistryError, match=r"no schema registry|answers 50|answers \d+ .*not as a registry") as raised:
        client(server.url, patience_s=0).schema(1)
    assert raised.value.exit_code == 75
    assert client(server.url).schema(1).text == '"long"', "a balancer whose registry came back"


def test_a_message_may_name_any_id_and_stops_nobody_by_it(server: RegistryServer) -> None:
    decode = decoder(Source(topic="t"), client(server.url, patience_s=0))
    with pytest.raises(UnknownSchema, match=r"knows no schema 4294967295$"):
        decode(b"\x00\xff\xff\xff\xffa", ())
    assert server.requests == [], "no registry has so many, and some would call the question wrong"
    server.trouble = ["400 json", "403 json", "405 json", "422 json", "404 json"]
    for number, status in enumerate(("400", "403", "405", "422")):
        with pytest.raises(UnknownSchema, match=rf"refuses schema {number} .{status}.: HTTP {status}"):
            decode(b"\x00" + number.to_bytes(4, "big") + b"a", ())
    with pytest.raises(UnknownSchema, match="knows no schema 00000000-"):
        decode(b"\x01" + bytes(17), ())  # an older registry, that has no GUIDs
    server.trouble = ["400", "403", "404 json"]  # a proxy's words, and a path that is none of a registry's
    for _ in range(3):
        with pytest.raises(RegistryError) as raised:
            decode(b"\x00\x00\x00\x00\x09a", ())
        assert raised.value.passing


@pytest.mark.parametrize("trouble", ["401", "401 json", "407 json"])
def test_who_is_let_in_by_nobody_has_to_set_something(server: RegistryServer, trouble: str) -> None:
    server.trouble = [trouble]
    with pytest.raises(RegistryError) as raised:
        client(server.url).schema(1)
    assert raised.value.exit_code == 1


def test_a_registry_that_is_behind_another_is_not_believed_before_that_one_is_asked(server: RegistryServer) -> None:
    with registry_server() as behind:
        server.add("a", "long")
        registry = client(behind.url, server.url, f"http://127.0.0.1:{free_port()}", patience_s=0)
        assert registry.schema(1).text == '"long"'
        with pytest.raises(UnknownSchema):
            registry.schema(2)  # nor is everything held up where one of several is away
        assert "GET /schemas/ids/2" in behind.requests


def test_certificates_are_checked_against_the_file_given(tmp_path: Path) -> None:
    from certificates import self_signed

    certificate, key = self_signed(tmp_path)
    with registry_server(certificate=(certificate, key)) as server:
        server.add("a", "long")
        assert client(server.url, ca=str(certificate)).schema(1).text == '"long"'
        with pytest.raises(RegistryError, match="MILLSTREAM_REGISTRY_CA") as raised:
            client(server.url).schema(1)
        assert not raised.value.passing
    with pytest.raises(RegistryError, match=r"nowhere.pem cannot be read.*MILLSTREAM_REGISTRY_CA"):
        client(server.url, ca=str(tmp_path / "nowhere.pem"))


def test_subjects_are_looked_up_and_registered_only_where_that_is_allowed(server: RegistryServer) -> None:
    closed, allowed = client(server.url), client(server.url, auto_register=True)
    text = '{"type": "record", "name": "R", "fields": []}'
    assert closed.id_of("r-value", text) is None
    assert closed.latest("r-value") is None
    with pytest.raises(RegistryError, match="auto_register is off"):
        closed.register("r-value", text)
    assert server.requests == ["POST /subjects/r-value", "GET /subjects/r-value/versions/latest"]
    assert allowed.register("r-value", text) == 1
    assert [closed.id_of("r-value", text) for _ in range(2)] == [1, 1]
    found = closed.latest("r-value")
    assert found is not None
    assert found.text == text
    wider = '{"type": "record", "name": "R", "fields": [{"name": "a", "type": "long"}]}'
    with pytest.raises(RegistryError, match=r"answers 409 .*r-value.* is incompatible") as raised:
        allowed.register("r-value", wider)
    assert not raised.value.passing
    with pytest.raises(RegistryError, match=r"answers 422 .*Invalid schema"):
        allowed.register("r-value", "no json")


@pytest.mark.parametrize(
    "references",
    [[{"name": "N", "subject": "n", "version": 1}], [{"name": "N"}], "nonsense", [{"subject": 1, "version": []}]],
)
def test_references_in_a_circle_or_of_another_form_are_refused(server: RegistryServer, references: Any) -> None:
    server.add("n", NODE)
    server.schemas[0]["references"] = references
    watch = Time()
    registry = client(server.url, watch=watch)
    for wait, asked in ((0, True), (4, False), (2, True)):
        watch.now += wait
        server.requests.clear()
        with pytest.raises(CodecError, match=r"or to itself|cannot be read"):
            registry.schema(1)
        assert bool(server.requests) == asked, "each message of it would cost a hundred questions"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://host", "http://"),
        ("registry:8081", "http://"),
        ("http://me:secret@host", "MILLSTREAM_REGISTRY_PASSWORD"),
        ("http://host:port", "cannot be read"),
        ("http://host/?a", "no . or #"),
    ],
)
def test_addresses_that_cannot_be(url: str, said: str) -> None:
    import re

    found = check_url(url)
    assert found is not None
    assert re.search(said, found)
    assert "secret" not in found


def test_addresses_that_can_be() -> None:
    assert [check_url(url) for url in ("http://host", "https://host:8081/apis/ccompat/v7")] == [None, None]
