"""Certificate and key of a server: whether they can be used, and when they were renewed."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from runtime.exits import FAILED

_KINDS: Final = "take RSA with 2048 bits or more, ECDSA on P-256 or P-384, or Ed25519"


class CertificateProblem(Exception):  # noqa: N818
    """Certificate or key cannot be used; the message names the file and the way out."""

    exit_code = FAILED


@dataclass(frozen=True)
class Certificate:
    """Files of a certificate, followed by those of its issuers, and of its private key; both in PEM."""

    cert: Path
    key: Path

    def check(self) -> None:
        """Raise CertificateProblem unless both can be read and belong together."""
        for option, path in (("--tls-cert", self.cert), ("--tls-key", self.key)):
            try:
                path.read_bytes()
            except OSError as error:
                raise CertificateProblem(f"{option} {path} cannot be read: {error.strerror}") from error
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_verify_locations(self.cert)
        except (OSError, ValueError) as error:
            raise CertificateProblem(f"--tls-cert {self.cert} holds no certificate in PEM") from error
        try:
            # Without a function for the password, OpenSSL would ask for it on the terminal.
            context.load_cert_chain(self.cert, self.key, password=_no_password)
        except _Encrypted as error:
            raise CertificateProblem(
                f"--tls-key {self.key} is encrypted: `openssl pkey -in {self.key} -out KEY.pem` writes it in plain"
            ) from error
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise CertificateProblem(f"--tls-key {self.key} is not the key of --tls-cert {self.cert}") from error
            if error.reason is not None and error.reason.endswith(("TOO_SMALL", "TOO_WEAK")):
                raise CertificateProblem(f"--tls-cert {self.cert} is too weak ({error.reason}): {_KINDS}") from error
            raise CertificateProblem(f"--tls-key {self.key} holds no private key in PEM for {self.cert}") from error
        self._check_kind()

    def _check_kind(self) -> None:
        """Raise CertificateProblem for a key that OpenSSL takes, but not the TLS library of the web server."""
        key = x509.load_pem_x509_certificate(self.cert.read_bytes()).public_key()
        usable = isinstance(key, (RSAPublicKey, Ed25519PublicKey)) or (
            isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, (SECP256R1, SECP384R1))
        )
        if not usable:
            raise CertificateProblem(f"--tls-key {self.key} is of a kind that cannot be used: {_KINDS}")

    def stamp(self) -> tuple[tuple[int, ...], ...]:
        """Return what differs after every change of one of the files."""
        return tuple(_stamp(path) for path in (self.cert, self.key))


class Renewals:
    """Tells when the files have changed and can be used."""

    def __init__(self, certificate: Certificate, say: Callable[[str], None]) -> None:
        self._certificate, self._say = certificate, say
        self._stamp = certificate.stamp()

    def renewed(self) -> bool:
        """Return whether the files have changed since the last call; a pair that cannot be used is reported, once."""
        stamp = self._certificate.stamp()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self._certificate.check()
        except CertificateProblem as error:
            self._say(f"{error}; the certificate that was read before is used on")
            return False
        self._say(f"the certificate {self._certificate.cert} was renewed")
        return True


class _Encrypted(Exception):  # noqa: N818
    pass


def _no_password() -> str:
    raise _Encrypted


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size
