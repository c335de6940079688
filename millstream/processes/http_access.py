"""Conditions on which a process may listen for HTTP: tokens, certificate, reload."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from runtime.exits import FAILED
from server.tokens.token_file import TokenFile

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from server.web.worker import Address


class NoTokens(Exception):  # noqa: N818
    """Other machines could reach a server that nobody has a token for."""

    exit_code = FAILED


def require_access(settings: Settings, address: Address, *, is_public: bool, scopes: str) -> None:
    """Check tokens and certificate before anything listens; `scopes` are those of a first token.

    Raises
    ------
    NoTokens
        If other machines can reach the address, and no token is valid.
    CertificateProblem
        If the certificate cannot be used.
    TokenFileProblem
        If the file of tokens cannot be read.
    """
    tokens = TokenFile(settings.tokens).read()
    now_ms = time.time_ns() // 1_000_000
    if is_public and not any(each.state(now_ms) == "valid" for each in tokens):
        raise NoTokens(
            f"--host {address.host} can be reached from other machines, and no token in {settings.tokens} is valid: "
            f"`millstream tokens create NAME --scope {scopes}` makes one"
        )
    if address.certificate is not None:
        address.certificate.check()


def survive_sighup() -> None:
    """Let this process outlive SIGHUP, which announces a new certificate; servers notice that by themselves."""
    signal.signal(signal.SIGHUP, lambda number, frame: None)
