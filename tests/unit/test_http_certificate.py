"""Certificate and key of a server: a pair that cannot be used is one line, and a renewed one is noticed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from certificates import self_signed
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from server.web.tls import Certificate, CertificateProblem, Renewals


@pytest.fixture
def pair(tmp_path: Path) -> Certificate:
    return Certificate(*self_signed(tmp_path))


def problem(cert: Path, key: Path) -> str:
    with pytest.raises(CertificateProblem) as found:
        Certificate(cert, key).check()
    assert "\n" not in str(found.value)
    return str(found.value)


def encrypted(path: Path) -> Path:
    path.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"word"),
        )
    )
    return path


def test_a_pair_that_belongs_together_is_taken(pair: Certificate) -> None:
    pair.check()


def test_a_pair_that_cannot_be_used_is_named_with_its_option(pair: Certificate, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other_cert, other_key = self_signed(tmp_path / "other")
    junk = tmp_path / "junk.pem"
    junk.write_bytes(b"no key of ours, c4n4ry")
    assert "is not the key of --tls-cert" in problem(pair.cert, other_key)
    assert "--tls-cert" in problem(junk, pair.key)
    assert "holds no certificate in PEM" in problem(junk, pair.key)
    assert "holds no private key in PEM" in problem(pair.cert, junk)
    assert "c4n4ry" not in problem(pair.cert, junk)
    assert "holds no private key in PEM" in problem(pair.cert, pair.cert)
    assert "holds no certificate in PEM" in problem(pair.key, pair.key)
    assert "No such file" in problem(tmp_path / "none", pair.key)
    assert "No such file" in problem(pair.cert, tmp_path / "none")
    assert "directory" in problem(tmp_path, pair.key)
    assert "openssl pkey" in problem(pair.cert, encrypted(tmp_path / "encrypted.key"))
    assert other_cert.exists()


_WEAK = rsa.generate_private_key(65537, 1024)  # noqa: S505 - too weak on purpose


@pytest.mark.parametrize("key", [_WEAK, ec.generate_private_key(ec.SECP521R1())])
def test_a_key_that_the_web_server_could_not_use_is_refused(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, tmp_path: Path
) -> None:
    assert "RSA with 2048 bits" in problem(*self_signed(tmp_path, key))


def test_a_renewed_pair_is_noticed_once_it_is_whole(pair: Certificate, tmp_path: Path) -> None:
    said: list[str] = []
    renewals = Renewals(pair, said.append)
    assert not renewals.renewed()
    (tmp_path / "new").mkdir()
    new_cert, new_key = self_signed(tmp_path / "new")
    shutil.copy(new_cert, pair.cert)
    assert not renewals.renewed(), "the key is still the old one"
    assert not renewals.renewed()
    assert len(said) == 1
    assert "used on" in said[0]
    shutil.copy(new_key, pair.key)
    assert renewals.renewed()
    assert not renewals.renewed()
    pair.key.unlink()
    assert not renewals.renewed()
    assert "cannot be read" in said[-1]
