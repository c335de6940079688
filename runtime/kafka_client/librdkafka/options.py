"""Translation of users' options: kafka-python's names to librdkafka's properties, by one table.

kafka-python stays beside librdkafka: it keeps the membership in groups and does administration, and gets the same
options. So an option that is about those alone, or that our adapters apply, is accepted here without a property. Any
other option without a counterpart is refused by name: ignored, it would leave users with another client than they
think they have.

This module imports no client, because settings are checked before there is one.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from runtime.kafka_client.oauth_tokens import TokenProvider

Kind: TypeAlias = Literal["consumer", "producer", "admin"]
_KINDS: Final[tuple[Kind, ...]] = ("consumer", "producer", "admin")
_MOST: Final = 2**31 - 1
_HOUR_MS: Final = 3_600_000
_RECONNECT_MAX_MS: Final = 1000
"""Default of `reconnect_backoff_max_ms` in every client of Millstream."""


class OptionRefused(Exception):  # noqa: N818
    """An option of the Kafka client has no counterpart in librdkafka; the message names the nearest way.

    Parameters
    ----------
    option
        Name of the option.
    way
        What is wrong with it, and the way out.
    where
        Name of the setting that the option comes from.
    """

    def __init__(self, option: str, way: str, where: str | None = None) -> None:
        super().__init__(f"{where or option} {way}")
        self.option = option
        self.way = way


@dataclass(frozen=True)
class _Translated:
    """An option with counterparts.

    Attributes
    ----------
    properties
        Properties of librdkafka that get the value.
    convert
        Converts the value; raises ValueError, with the valid values as its text, if librdkafka cannot have it.
    of
        The clients that have the property. librdkafka writes a warning if it gets a property of another client.
    """

    properties: tuple[str, ...]
    convert: Callable[[Any], Any] = lambda value: value
    of: tuple[Kind, ...] = _KINDS


def _whole(least: int, most: int = _MOST) -> Callable[[Any], int]:
    """Return a converter to an integer from `least` to `most`."""

    def convert(value: Any) -> int:
        try:
            # kafka-python's default of `retries` is infinite.
            number = most if value == math.inf else int(value)
        except (TypeError, ValueError):
            raise ValueError("must be a number") from None
        if not least <= number <= most:
            raise ValueError(f"must be from {least} to {most}")
        return number

    return convert


def _at_most(most: int) -> Callable[[Any], int]:
    """Return a converter that lowers a larger value: to ask more often than wanted does no harm."""
    return lambda value: min(_whole(1)(value), most)


def _one_in_flight(value: Any) -> int:
    if _whole(1)(value) != 1:
        raise ValueError("must be 1 (with more, librdkafka can commit a transaction that lacks a record)")
    return 1


def _mechanism(value: Any) -> str:
    if value == "GSSAPI":
        raise ValueError("cannot be GSSAPI (confluent-kafka is built without Kerberos)")
    if value == "AWS_MSK_IAM":
        raise ValueError("cannot be AWS_MSK_IAM (use OAUTHBEARER with a provider of tokens for MSK)")
    return str(value)


def _tokens(provider: Any) -> Callable[[str], tuple[str, float, str, dict[str, str]]]:
    """Return librdkafka's callback for tokens: it is called again after 80 % of the lifetime that it has returned."""
    if not isinstance(provider, TokenProvider):
        raise ValueError("must be written module:object")  # noqa: TRY004 - becomes a line for the user

    def oauth_cb(_config: str) -> tuple[str, float, str, dict[str, str]]:
        token = provider.token()
        return token, provider.expires(token), "", provider.extensions()

    return oauth_cb


def _hostname(value: Any) -> str:
    return "https" if value else "none"


_CONSUMER: Final[tuple[Kind, ...]] = ("consumer",)
_PRODUCER: Final[tuple[Kind, ...]] = ("producer",)

_TABLE: Final[Mapping[str, _Translated]] = {
    # connections
    "client_id": _Translated(("client.id",)),
    "client_rack": _Translated(("client.rack",)),
    "client_dns_lookup": _Translated(("client.dns.lookup",)),
    "connections_max_idle_ms": _Translated(("connections.max.idle.ms",), _whole(0)),
    "metadata_max_age_ms": _Translated(("topic.metadata.refresh.interval.ms",), _at_most(_HOUR_MS)),
    "max_in_flight_requests_per_connection": _Translated(("max.in.flight",), _one_in_flight),
    "receive_buffer_bytes": _Translated(("socket.receive.buffer.bytes",), _whole(0, 100_000_000)),
    "send_buffer_bytes": _Translated(("socket.send.buffer.bytes",), _whole(0, 100_000_000)),
    "receive_message_max_bytes": _Translated(("receive.message.max.bytes",), _whole(1000)),
    "reconnect_backoff_ms": _Translated(("reconnect.backoff.ms",), _whole(0, _HOUR_MS)),
    "reconnect_backoff_max_ms": _Translated(("reconnect.backoff.max.ms",), _whole(0, _HOUR_MS)),
    # The back-off of kafka-python does not grow: the largest one is the same.
    "retry_backoff_ms": _Translated(("retry.backoff.ms", "retry.backoff.max.ms"), _whole(1, 300_000)),
    "request_timeout_ms": _Translated(("socket.timeout.ms",), _whole(10, 300_000)),
    # security
    "security_protocol": _Translated(("security.protocol",)),
    "sasl_mechanism": _Translated(("sasl.mechanism",), _mechanism),
    "sasl_plain_username": _Translated(("sasl.username",)),
    "sasl_plain_password": _Translated(("sasl.password",)),
    "sasl_oauth_token_provider": _Translated(("oauth_cb",), _tokens),
    "ssl_cafile": _Translated(("ssl.ca.location",)),
    "ssl_certfile": _Translated(("ssl.certificate.location",)),
    "ssl_keyfile": _Translated(("ssl.key.location",)),
    "ssl_password": _Translated(("ssl.key.password",)),
    "ssl_crlfile": _Translated(("ssl.crl.location",)),
    "ssl_ciphers": _Translated(("ssl.cipher.suites",)),
    # kafka-python checks the certificate in any case, and the name in it only if this is true.
    "ssl_check_hostname": _Translated(("ssl.endpoint.identification.algorithm",), _hostname),
    # consumers
    "check_crcs": _Translated(("check.crcs",), of=_CONSUMER),
    "fetch_max_bytes": _Translated(("fetch.max.bytes",), _whole(1_000_000), _CONSUMER),
    "fetch_max_wait_ms": _Translated(("fetch.wait.max.ms",), _whole(0, 300_000), _CONSUMER),
    "fetch_min_bytes": _Translated(("fetch.min.bytes",), _whole(1, 100_000_000), _CONSUMER),
    "max_partition_fetch_bytes": _Translated(("max.partition.fetch.bytes",), _whole(1, 1_000_000_000), _CONSUMER),
    # producers
    "batch_size": _Translated(("batch.size",), _whole(1), _PRODUCER),
    "compression_type": _Translated(("compression.type",), of=_PRODUCER),
    "delivery_timeout_ms": _Translated(("delivery.timeout.ms",), _whole(0), _PRODUCER),
    "linger_ms": _Translated(("linger.ms",), _whole(0, 900_000), _PRODUCER),
    "max_request_size": _Translated(("message.max.bytes",), _whole(1000, 1_000_000_000), _PRODUCER),
    "retries": _Translated(("message.send.max.retries",), _whole(0), _PRODUCER),
    "transaction_timeout_ms": _Translated(("transaction.timeout.ms",), _whole(1000), _PRODUCER),
}

_ELSEWHERE: Final = frozenset(
    {
        "api_version",
        "auto_commit_interval_ms",
        "bootstrap_timeout_ms",
        "exclude_internal_topics",
        "heartbeat_interval_ms",
        "max_block_ms",
        "max_poll_interval_ms",
        "max_poll_records",
        "session_timeout_ms",
    }
)
"""Options without a property: kafka-python gets them for membership and administration, or the adapters apply them."""

_ONLY: Final = "set client to kafka-python, or leave it out"
_OWN_METRICS: Final = "leave it out; `--metrics-port` serves the metrics of a role"
_KERBEROS: Final = "confluent-kafka's packages are built without Kerberos: set client to kafka-python"
_BY_CODE: Final = "it can only be set in Python code; leave it out"
_PROXY: Final = "librdkafka knows no proxies; set client to kafka-python"

_NEAREST: Final[Mapping[str, str]] = {
    "consumer_timeout_ms": "nothing in Millstream uses it; leave it out",
    "default_offset_commit_callback": _BY_CODE,
    "enable_incremental_fetch_sessions": f"librdkafka has no fetch sessions; {_ONLY}",
    "kafka_client": _BY_CODE,
    "metric_group_prefix": _OWN_METRICS,
    "metric_reporters": _OWN_METRICS,
    "metrics_enabled": _OWN_METRICS,
    "metrics_num_samples": _OWN_METRICS,
    "metrics_sample_window_ms": _OWN_METRICS,
    "proxy_url": _PROXY,
    "sasl_kerberos_domain_name": _KERBEROS,
    "sasl_kerberos_name": _KERBEROS,
    "sasl_kerberos_service_name": _KERBEROS,
    "selector": _BY_CODE,
    "socket_options": "the nearest options are receive_buffer_bytes and send_buffer_bytes",
    "socks5_proxy": _PROXY,
    "ssl_context": "the nearest options are ssl_cafile, ssl_certfile, ssl_keyfile and ssl_ciphers",
}
"""By option without a counterpart, the way out."""


def translated(options: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """Return librdkafka's properties for the options of a user, in kafka-python's types.

    >>> translated({"compression_type": "lz4", "reconnect_backoff_ms": 50}, "consumer")
    {'reconnect.backoff.ms': 50, 'reconnect.backoff.max.ms': 1000}

    Parameters
    ----------
    kind
        The client that gets the properties. Options that it does not have are left out.

    Raises
    ------
    OptionRefused
        If an option has no counterpart, or librdkafka cannot have its value.
    """
    properties: dict[str, Any] = {}
    for name, value in options.items():
        if name in _ELSEWHERE:
            continue
        row = _TABLE.get(name)
        if row is None:
            raise OptionRefused(name, f"has no counterpart in client librdkafka: {_NEAREST.get(name, _ONLY)}")
        if value is None:
            continue
        try:
            converted = row.convert(value)
        except ValueError as error:
            # Only the converters' own texts are shown: the value may be a secret under a wrong name.
            raise OptionRefused(name, f"{error}, with client librdkafka") from None
        if kind in row.of:
            properties |= dict.fromkeys(row.properties, converted)
    return properties | _completed(properties, kind)


def _completed(properties: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """Return the properties that librdkafka needs beside these to do what kafka-python does by itself."""
    more: dict[str, Any] = {}
    if "reconnect.backoff.ms" in properties:
        # It refuses a first back-off above the largest.
        most = properties.get("reconnect.backoff.max.ms", _RECONNECT_MAX_MS)
        more["reconnect.backoff.max.ms"] = max(most, properties["reconnect.backoff.ms"])
    if kind == "producer" and "socket.timeout.ms" in properties:
        more["request.timeout.ms"] = properties["socket.timeout.ms"]
    if "ssl.certificate.location" in properties and "ssl.key.location" not in properties:
        more["ssl.key.location"] = properties["ssl.certificate.location"]  # one file with both
    if "SSL" in str(properties.get("security.protocol")) and "ssl.ca.location" not in properties:
        more["ssl.ca.location"] = _trusted()
    return more


def _trusted() -> str:
    """Return the certificates that Python trusts, so that both clients trust the same; `probe` if it has none.

    librdkafka brings an OpenSSL of its own, whose folders do not exist on most machines.
    """
    paths = ssl.get_default_verify_paths()
    return next((each for each in (paths.cafile, paths.capath) if each and Path(each).exists()), "probe")
