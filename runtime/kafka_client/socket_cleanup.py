"""Sockets of the Kafka client that are closed when a connection attempt fails."""

from __future__ import annotations

import socket
from typing import Any, Final

from kafka.net.inet import KafkaNetSocket

DIRECT: Final = "direct://"
"""A `proxy_url` that selects the class below instead of a proxy: the client chooses by the scheme."""


class CollectedSocket(socket.socket):
    """Closes itself without a warning when it is garbage-collected.

    A client that is closed while a request waits to be sent delays the close until the request is out, but ends the
    thread that would send it, and drops the socket. This happens on overloaded machines.
    """

    def __del__(self) -> None:
        if self.fileno() != -1:
            self.close()


class ClosingSocket(KafkaNetSocket):  # type: ignore[misc]
    """Closes the socket of a failed attempt.

    The client leaves that to the garbage collector, which runs only after hours in a process that only sends: during
    broker outages a publisher reached dozens of open files.
    """

    SCHEMES = ("direct",)

    def socket(
        self, family: int = socket.AF_UNSPEC, sock_type: int = socket.SOCK_STREAM, proto: int = socket.IPPROTO_TCP
    ) -> CollectedSocket:
        """Return a socket for one attempt."""
        return CollectedSocket(family, sock_type, proto)

    async def sock_connect(self, net: Any, sock: Any, sockaddr: Any, timeout_at: float | None = None) -> Any:
        try:
            return await super().sock_connect(net, sock, sockaddr, timeout_at=timeout_at)
        except BaseException:
            sock.close()
            raise
