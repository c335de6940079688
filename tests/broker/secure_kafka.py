"""A Kafka of its own with TLS, SASL/SCRAM, SASL/PLAIN, SASL/OAUTHBEARER, mutual TLS and access control."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from raw_kafka import raw_admin

from millstream.embedded_kafka.broker import EmbeddedBroker
from millstream.embedded_kafka.server_properties import free_port
from millstream.topics.acls import Right
from runtime.kafka_client.cluster import Cluster

PASSWORD = "pass for tests"  # noqa: S105 - of a Kafka that lasts as long as the tests
_OPERATIONS = {"DescribeConfigs": "DESCRIBE_CONFIGS", "AlterConfigs": "ALTER_CONFIGS"}


@dataclass(frozen=True)
class SecureKafka:
    """Where it is reached: without anything (as a super user), by password or token over TLS, by mutual TLS."""

    plain: str
    scram: str
    mutual: str
    token: str
    folder: Path

    def by_password(self, user: str) -> dict[str, str]:
        """Return the client's options for a user with a password."""
        return {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": user,
            "sasl_plain_password": PASSWORD,
            "ssl_cafile": str(self.folder / "ca.pem"),
        }

    def by_plain_password(self) -> dict[str, str]:
        """Return the client's options for the predictor with a password that is sent as it is, within TLS."""
        return {**self.by_password("predictor"), "sasl_mechanism": "PLAIN"}

    def by_certificate(self, user: str) -> dict[str, str]:
        """Return the client's options for a user with a certificate."""
        return {
            "security_protocol": "SSL",
            "ssl_cafile": str(self.folder / "ca.pem"),
            "ssl_certfile": str(self.folder / f"{user}.pem"),
            "ssl_keyfile": str(self.folder / f"{user}.pem"),
        }

    def by_token(self, provider: str) -> dict[str, str]:
        """Return the client's options for whoever the provider's tokens say."""
        return {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "OAUTHBEARER",
            "sasl_oauth_token_provider": provider,
            "ssl_cafile": str(self.folder / "ca.pem"),
        }

    def add(self, *users: str) -> None:
        """Make users who may do nothing yet; each has a password and a certificate."""
        with raw_admin(Cluster(self.plain)) as admin:
            wanted = [UserScramCredentialUpsertion(each, ScramMechanism.SCRAM_SHA_512, PASSWORD) for each in users]
            failed = {user: error for user, error in admin.alter_user_scram_credentials(wanted).items() if error}
            assert not failed
        for each in users:
            self.certify(each)

    def certify(self, name: str) -> None:
        """Write a key and a certificate of our authority for it."""
        authority = x509.load_pem_x509_certificate((self.folder / "ca.pem").read_bytes())
        key: Any = serialization.load_pem_private_key((self.folder / "ca.key").read_bytes(), None)
        _certificate(self.folder / f"{name}.pem", name, authority.subject, key)

    def grant(self, user: str, rights: list[Right]) -> None:
        """Allow a user what is said."""
        with raw_admin(Cluster(self.plain)) as admin:
            done = admin.create_acls([_acl(user, each) for each in rights])
            assert not done["failed"]


def _acl(user: str, right: Right) -> ACL:
    operation = ACLOperation[_OPERATIONS.get(right.operation, right.operation.upper())]
    resource = ResourceType[right.resource.upper().replace("-", "_")]
    pattern = ACLResourcePatternType.PREFIXED if right.prefixed else ACLResourcePatternType.LITERAL
    return ACL(f"User:{user}", "*", operation, ACLPermissionType.ALLOW, ResourcePattern(resource, right.name, pattern))


@contextmanager
def secure_kafka(folder: Path) -> Iterator[SecureKafka]:
    """Start one; it ends with the block."""
    plain, scram, mutual, token, controller = (free_port() for _ in range(5))
    _authority(folder)
    kafka = SecureKafka(*(f"127.0.0.1:{port}" for port in (plain, scram, mutual, token)), folder)
    kafka.certify("server")
    broker = EmbeddedBroker(folder / "broker", port=plain, properties=_properties(kafka, controller))
    try:
        broker.start()
        yield kafka
    finally:
        broker.kill()


def _properties(kafka: SecureKafka, controller: int) -> dict[str, str]:
    listeners = f"PLAINTEXT://{kafka.plain},SCRAM://{kafka.scram},MUTUAL://{kafka.mutual},TOKEN://{kafka.token}"
    return {
        "listeners": f"{listeners},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": listeners,
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listener.security.protocol.map": (
            "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SCRAM:SASL_SSL,MUTUAL:SSL,TOKEN:SASL_SSL"
        ),
        "listener.name.scram.sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
        "listener.name.scram.plain.sasl.jaas.config": (
            f'org.apache.kafka.common.security.plain.PlainLoginModule required user_predictor="{PASSWORD}";'
        ),
        "listener.name.token.sasl.enabled.mechanisms": "OAUTHBEARER",
        # Kafka's own check of tokens that nobody has signed: who they are for, and until when.
        "listener.name.token.oauthbearer.sasl.jaas.config": (
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "
            'unsecuredLoginStringClaim_sub="broker";'
        ),
        "listener.name.scram.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(kafka.folder / "server.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(kafka.folder / "ca.pem"),
        "listener.name.mutual.ssl.client.auth": "required",
        "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/,DEFAULT",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }


# --- certificates ----------------------------------------------------------------------------------


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )


def _authority(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name("authority")
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    signed = (
        _builder(subject, subject, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "ca.key").write_bytes(_pem(key))


def _certificate(path: Path, name: str, issuer: x509.Name, authority: ec.EllipticCurvePrivateKey) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    addresses = x509.SubjectAlternativeName(
        [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    )
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    signed = (
        _builder(_name(name), issuer, key)
        .add_extension(addresses, critical=False)
        .add_extension(identifier, critical=False)
        .sign(authority, hashes.SHA256())
    )
    path.write_bytes(_pem(key) + signed.public_bytes(serialization.Encoding.PEM))
