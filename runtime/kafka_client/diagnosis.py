"""Likely cause when a broker does not answer; kafka-python only reports that the connection was lost."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from typing import Any, Final

from runtime.kafka_client.oauth_tokens import TokenError, TokenProvider

_SECONDS: Final = 5.0
_WITH_TLS: Final = ("SSL", "SASL_SSL")


def explain(bootstrap: str, options: Mapping[str, Any]) -> str:
    """Return the most likely cause as a clause, without any secret."""
    provider = options.get("sasl_oauth_token_provider")
    if isinstance(provider, TokenProvider):
        try:
            provider.token()
        except TokenError as error:
            return str(error)
    protocol = str(options.get("security_protocol") or "PLAINTEXT")
    address = _address(bootstrap)
    look = _ASK_PROVIDER if options.get("sasl_mechanism") == "OAUTHBEARER" else _LOOK_AT_USER
    if protocol in _WITH_TLS:
        ended = look if protocol == "SASL_SSL" else _LOOK_AT_CERTIFICATE
        return _with_tls(address, options) or f"TLS works, and then the broker ends it: {ended}"
    if _speaks_tls(address):
        return "it speaks TLS: set security_protocol to SSL or SASL_SSL"
    if protocol.startswith("SASL"):
        return f"the broker ends the connection: {look}"
    return "what listens there does not answer as a Kafka without TLS and passwords does"


_LOOK_AT_USER: Final = "look at user, password and sasl_mechanism"
_ASK_PROVIDER: Final = "look at the token that sasl_oauth_token_provider gives, and at sasl_mechanism"
_LOOK_AT_CERTIFICATE: Final = "it may ask for a certificate, ssl_certfile and ssl_keyfile"


def _with_tls(address: tuple[str, int], options: Mapping[str, Any]) -> str | None:
    """Return the fault of the TLS handshake; `None` if it works."""
    try:
        context = _context(options)
    except (OSError, ssl.SSLError, ValueError) as error:
        return f"the client's TLS files cannot be used ({_reason(error)})"
    try:
        _shake(address, context)
    except (OSError, ssl.SSLError) as error:
        return f"the TLS handshake fails ({_reason(error)}): look at security_protocol and ssl_cafile"
    return None


def _address(bootstrap: str) -> tuple[str, int]:
    host, _, port = bootstrap.split(",", maxsplit=1)[0].strip().rpartition(":")
    return host or "localhost", int(port)


def _context(options: Mapping[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.get("ssl_cafile"))
    context.check_hostname = bool(options.get("ssl_check_hostname", True))
    if options.get("ssl_certfile"):
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"), options.get("ssl_password"))
    return context


def _shake(address: tuple[str, int], context: ssl.SSLContext) -> None:
    with (
        socket.create_connection(address, timeout=_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=address[0]),
    ):
        pass


def _speaks_tls(address: tuple[str, int]) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # this only tests whether the broker answers, and sends nothing secret
    try:
        _shake(address, context)
    except (OSError, ssl.SSLError):
        return False
    return True


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    return str(getattr(error, "reason", None) or error)
