"""Options of users with librdkafka: each of kafka-python's is accepted by a real client, or refused by name."""

from __future__ import annotations

import logging
import math
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest
from certificates import self_signed
from confluent_kafka.admin import AdminClient

from millstream.config.kafka_options import _OURS, client_options
from runtime.kafka_client.kafka_python import known_options
from runtime.kafka_client.librdkafka.options import _ELSEWHERE, _NEAREST, _TABLE, Kind, OptionRefused, translated
from runtime.kafka_client.oauth_tokens import TokenProvider

KINDS: tuple[Kind, ...] = ("consumer", "producer", "admin")
SETTABLE = sorted(known_options.defaults().keys() - _OURS - {"bootstrap_servers"})
SASL = {"security_protocol": "SASL_PLAINTEXT", "sasl_plain_username": "ann", "sasl_plain_password": "canary-secret"}

# An option as a user writes it, with the options that it needs, and the properties that it becomes.
CASES: list[tuple[dict[str, str], dict[str, Any]]] = [
    ({"client_id": "me"}, {"client.id": "me"}),
    ({"client_rack": "a"}, {"client.rack": "a"}),
    ({"client_dns_lookup": "use_all_dns_ips"}, {"client.dns.lookup": "use_all_dns_ips"}),
    ({"connections_max_idle_ms": "60000"}, {"connections.max.idle.ms": 60000}),
    ({"metadata_max_age_ms": "20000"}, {"topic.metadata.refresh.interval.ms": 20000}),
    ({"metadata_max_age_ms": "86400000"}, {"topic.metadata.refresh.interval.ms": 3600000}),
    ({"max_in_flight_requests_per_connection": "1"}, {"max.in.flight": 1}),
    ({"receive_buffer_bytes": "65536"}, {"socket.receive.buffer.bytes": 65536}),
    ({"send_buffer_bytes": "65536"}, {"socket.send.buffer.bytes": 65536}),
    ({"receive_message_max_bytes": "200000000"}, {"receive.message.max.bytes": 200000000}),
    ({"reconnect_backoff_ms": "100"}, {"reconnect.backoff.ms": 100, "reconnect.backoff.max.ms": 1000}),
    ({"reconnect_backoff_ms": "2000"}, {"reconnect.backoff.ms": 2000, "reconnect.backoff.max.ms": 2000}),
    ({"reconnect_backoff_max_ms": "5000"}, {"reconnect.backoff.max.ms": 5000}),
    ({"retry_backoff_ms": "20"}, {"retry.backoff.ms": 20, "retry.backoff.max.ms": 20}),
    ({"request_timeout_ms": "7000"}, {"socket.timeout.ms": 7000}),
    ({"security_protocol": "PLAINTEXT"}, {"security.protocol": "PLAINTEXT"}),
    (
        {**SASL, "sasl_mechanism": "PLAIN"},
        {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "ann",
            "sasl.password": "canary-secret",
        },
    ),
    ({"ssl_check_hostname": "true"}, {"ssl.endpoint.identification.algorithm": "https"}),
    ({"ssl_check_hostname": "no"}, {"ssl.endpoint.identification.algorithm": "none"}),
    ({"ssl_ciphers": "ECDHE-RSA-AES256-GCM-SHA384"}, {"ssl.cipher.suites": "ECDHE-RSA-AES256-GCM-SHA384"}),
    ({"check_crcs": "1"}, {"check.crcs": True}),
    ({"fetch_max_bytes": "4000000"}, {"fetch.max.bytes": 4000000}),
    ({"fetch_max_wait_ms": "50"}, {"fetch.wait.max.ms": 50}),
    ({"fetch_min_bytes": "1000"}, {"fetch.min.bytes": 1000}),
    ({"max_partition_fetch_bytes": "500000"}, {"max.partition.fetch.bytes": 500000}),
    ({"batch_size": "100000"}, {"batch.size": 100000}),
    ({"compression_type": "zstd"}, {"compression.type": "zstd"}),
    ({"delivery_timeout_ms": "9000"}, {"delivery.timeout.ms": 9000}),
    ({"linger_ms": "20"}, {"linger.ms": 20}),
    ({"max_request_size": "2000000"}, {"message.max.bytes": 2000000}),
    ({"retries": "3"}, {"message.send.max.retries": 3}),
    ({"retries": "inf"}, {"message.send.max.retries": 2147483647}),
    ({"transaction_timeout_ms": "20000"}, {"transaction.timeout.ms": 20000}),
    *(({name: "1000"}, {}) for name in sorted(_ELSEWHERE - {"api_version", "exclude_internal_topics"})),
    ({"api_version": "2.8"}, {}),
    ({"exclude_internal_topics": "true"}, {}),
]
OF = {"consumer": confluent_kafka.Consumer, "producer": confluent_kafka.Producer, "admin": AdminClient}


def opened(kind: Kind, properties: Mapping[str, Any]) -> list[str]:
    """Make a real client, and return what it says of its properties."""
    said: list[str] = []
    logger = logging.Logger("librdkafka")
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    base = {"bootstrap.servers": "127.0.0.1:1", "logger": logger, **({"group.id": "g"} if kind == "consumer" else {})}
    client = OF[kind]({**base, **properties})
    client.poll(0)
    if kind == "consumer":
        client.close()
    return [line for line in said if "CONFWARN" in line]


def all_kinds(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties of all clients, and assert that each accepts its own without a warning."""
    properties: dict[str, Any] = {}
    for kind in KINDS:
        own = translated(options, kind)
        assert opened(kind, own) == [], (kind, own)
        properties |= own
    return properties


def test_every_option_of_the_other_client_is_known_here() -> None:
    assert {*_TABLE, *_ELSEWHERE, *_NEAREST} == {*SETTABLE}
    assert len(_TABLE) + len(_ELSEWHERE) + len(_NEAREST) == len(SETTABLE), "each in one table"


@pytest.mark.parametrize(("given", "properties"), CASES, ids=",".join)
def test_an_option_becomes_what_a_real_client_accepts(given: dict[str, str], properties: dict[str, Any]) -> None:
    found = all_kinds(client_options(given, "librdkafka"))
    found.pop("request.timeout.ms", None)  # of producers, beside the timeout of all; see below
    assert found == properties


def test_every_translated_option_has_a_case() -> None:
    secured = {"ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_password", "ssl_crlfile", "sasl_oauth_token_provider"}
    assert {name for given, _ in CASES for name in given} | secured == {*_TABLE, *_ELSEWHERE}


def test_a_client_gets_only_its_own_properties() -> None:
    options = {"linger_ms": 5, "fetch_min_bytes": 10, "request_timeout_ms": 7000}
    assert translated(options, "consumer") == {"fetch.min.bytes": 10, "socket.timeout.ms": 7000}
    assert translated(options, "producer") == {
        "linger.ms": 5,
        "socket.timeout.ms": 7000,
        "request.timeout.ms": 7000,
    }
    assert translated(options, "admin") == {"socket.timeout.ms": 7000}


@pytest.mark.parametrize("name", sorted(_NEAREST))
def test_an_option_without_a_counterpart_is_refused_by_name_with_the_way_out(name: str) -> None:
    given = "1" if name not in ("metrics_enabled", "enable_incremental_fetch_sessions") else "true"
    with pytest.raises(OptionRefused) as caught:
        client_options({name: given}, "librdkafka")
    said = str(caught.value)
    assert said.startswith(f"MILLSTREAM_KAFKA_{name.upper()} (or {name} under [kafka] in millstream.toml) has no ")
    assert re.search("leave it out|nearest option|set client to kafka-python", said)
    assert "\n" not in said
    # The first client takes it, as before.
    assert list(client_options({name: given}, "kafka-python")) == [name]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"fetch_max_bytes": "1000"}, "must be from 1000000 to 2147483647, with client librdkafka"),
        ({"linger_ms": "900001"}, "must be from 0 to 900000"),
        ({"max_in_flight_requests_per_connection": "2"}, "must be 1 "),
        (
            {"security_protocol": "SASL_SSL", "sasl_mechanism": "GSSAPI"},
            "cannot be GSSAPI .confluent-kafka is built without Kerberos.",
        ),
        ({"security_protocol": "SASL_SSL", "sasl_mechanism": "AWS_MSK_IAM"}, "use OAUTHBEARER with a provider"),
    ],
)
def test_a_value_that_it_cannot_have_is_refused_with_those_that_it_can(given: dict[str, str], said: str) -> None:
    name = list(given)[-1]
    with pytest.raises(OptionRefused, match=f"MILLSTREAM_KAFKA_{name.upper()} .*{said}"):
        client_options(given, "librdkafka")
    assert client_options(given, "kafka-python")


def test_no_value_is_repeated_in_a_message() -> None:
    for options in ({"fetch_min_bytes": "canary-secret"}, {"linger_ms": ["canary-secret"]}, {"no_option": "canary"}):
        with pytest.raises(OptionRefused) as caught:
            translated(options, "consumer")
        assert "canary" not in str(caught.value)


# --- TLS and tokens --------------------------------------------------------------------------------


def test_certificates_become_what_a_real_client_reads(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    given = {"security_protocol": "SSL", "ssl_cafile": str(certificate)}
    files = {"ssl.ca.location": str(certificate), "security.protocol": "SSL"}
    pair = {"ssl_certfile": str(certificate), "ssl_keyfile": str(key)}
    assert all_kinds(client_options({**given, **pair, "ssl_password": "pw"}, "librdkafka")) == {
        **files,
        "ssl.certificate.location": str(certificate),
        "ssl.key.location": str(key),
        "ssl.key.password": "pw",
    }
    # One file with both, as the first client takes it too.
    assert all_kinds(client_options({**given, "ssl_certfile": str(both)}, "librdkafka")) == {
        **files,
        "ssl.certificate.location": str(both),
        "ssl.key.location": str(both),
    }
    assert translated({"ssl_crlfile": "crl.pem"}, "admin") == {"ssl.crl.location": "crl.pem"}


def test_without_a_file_both_clients_trust_what_python_trusts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, _ = self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert ssl.get_default_verify_paths().cafile == str(certificate)
    assert all_kinds({"security_protocol": "SSL"})["ssl.ca.location"] == str(certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    assert all_kinds({"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512", **_USER}) == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "ann",
        "sasl.password": "pw",
        "ssl.ca.location": "probe",
    }


_USER = {"sasl_plain_username": "ann", "sasl_plain_password": "pw"}


class Tokens:
    """A provider of a user's own."""

    asked = 0

    def token(self) -> str:
        Tokens.asked += 1
        return "not.a.jwt"

    def extensions(self) -> dict[str, str]:
        return {"tenant": "ann"}


def test_a_real_client_asks_the_users_provider_for_its_token() -> None:
    provider = TokenProvider("tests:Tokens", Tokens())
    options = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "OAUTHBEARER"}
    properties = translated({**options, "sasl_oauth_token_provider": provider}, "producer")
    token, expires, principal, extensions = properties["oauth_cb"]("")
    assert (token, principal, extensions) == ("not.a.jwt", "", {"tenant": "ann"})
    assert math.isfinite(expires)
    before = Tokens.asked
    assert opened("producer", properties) == []
    assert Tokens.asked > before
