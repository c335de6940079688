"""Limits of connections: their number stays below that of open files, and unread responses end."""

from __future__ import annotations

import resource
import socket
import sys

import pytest

from server.web.connections import give_up_unread, most_connections


@pytest.mark.parametrize(
    ("files", "connections"), [(100, 64), (1024, 768), (20_000, 16_384), (resource.RLIM_INFINITY, 16_384)]
)
def test_connections_leave_files_for_the_spool(monkeypatch: pytest.MonkeyPatch, files: int, connections: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (files, files))
    assert most_connections() == connections


@pytest.mark.skipif(sys.platform != "linux", reason="TCP_USER_TIMEOUT is Linux's")
def test_connections_inherit_the_time_after_which_an_unread_response_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_server(("127.0.0.1", 0)) as other:
        port = listening.getsockname()[1]
        assert give_up_unread(port) == 1
        with socket.create_connection(("127.0.0.1", port)), listening.accept()[0] as connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
        assert other.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0
