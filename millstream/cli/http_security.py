"""Options of commands that listen for HTTP: names under which they are reached, and TLS."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from millstream.cli.shared_options import UsageError

if TYPE_CHECKING:
    from server.web.tls import Certificate

_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


@Parameter(name="*", group="HTTP")
@dataclass(frozen=True)
class HttpSecurity:
    """Options of commands that listen for HTTP, besides the address."""

    allowed_host: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Further name under which the server is reached, such as that of a proxy before it. Requests that name another
    host are refused. May be given several times; in the environment, separated by spaces."""

    tls_cert: str | None = None
    """File of the certificate for HTTPS, in PEM, followed by those of its issuers. TLS 1.2 or later is spoken."""

    tls_key: str | None = None
    """File of the certificate's private key, in PEM. When both files are replaced, they are used within seconds."""

    def certificate(self) -> Certificate | None:
        """Return the files of certificate and key. Raises UsageError if only one is given."""
        if self.tls_cert is None and self.tls_key is None:
            return None
        if self.tls_cert is None or self.tls_key is None:
            raise UsageError("--tls-cert and --tls-key go together: give both, or none")
        from server.web.tls import Certificate

        return Certificate(Path(self.tls_cert).expanduser().absolute(), Path(self.tls_key).expanduser().absolute())

    def hosts(self, host: str) -> frozenset[str]:
        """Return the names that requests to a server at this address may have. Raises UsageError."""
        from server.web.app import LOOPBACK

        return LOOPBACK | {host, *map(_name, self.allowed_host)}

    def words(self) -> list[str]:
        """Return the options as arguments of a worker's command."""
        given = [("--allowed-host", each) for each in self.allowed_host]
        given += [("--tls-cert", self.tls_cert)] if self.tls_cert is not None else []
        given += [("--tls-key", self.tls_key)] if self.tls_key is not None else []
        return [word for pair in given for word in pair]


def listening_address(host: str) -> tuple[str, bool]:
    """Return the address to listen at, and whether other machines can reach it. Raises UsageError.

    >>> listening_address("localhost"), listening_address("0.0.0.0")
    (('127.0.0.1', False), ('0.0.0.0', True))
    """
    if host == "localhost":
        return "127.0.0.1", False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise UsageError(
            f"--host {host} must be an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all"
        ) from None
    return str(address), not address.is_loopback


def _name(host: str) -> str:
    name = host.lower()
    if not _HOST.fullmatch(name):
        try:
            return str(ipaddress.ip_address(name))
        except ValueError:
            raise UsageError(f"--allowed-host {host} must be a name such as api.example.com, without a port") from None
    return name
