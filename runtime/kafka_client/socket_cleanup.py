"""How the Kafka client connects: as by itself, but what came to nothing is closed."""

from __future__ import annotations

import socket
from typing import Any, Final

from kafka.net.inet import KafkaNetSocket

DIRECT: Final = "direct://"
"""A `proxy_url` that names no proxy, but the class below: the client chooses by the scheme."""


class CollectedSocket(socket.socket):
    """Closed when it is collected, without a warning.

    A client that is closed while a request waits to be sent puts the closing off until that is out, ends the thread
    that would send it, and drops the socket: seen on crowded machines.
    """

    def __del__(self) -> None:
        if self.fileno() != -1:
            self.close()


class ClosingSocket(KafkaNetSocket):  # type: ignore[misc]
    """Closes the socket of an attempt that fails.

    The client leaves it to the garbage collector, which a process that only sends runs after hours: in the outages of
    a broker a publisher came to dozens of open files.
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
