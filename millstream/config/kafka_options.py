"""Options of the Kafka client: parses and checks them, and converts them to kafka-python's types."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from millstream.config.errors import CONFIG_FILE, KAFKA_PREFIX, SettingsError
from runtime.kafka_client.kafka_python import known_options
from runtime.kafka_client.library_names import DEFAULT, LIBRDKAFKA
from runtime.kafka_client.oauth_tokens import TokenError, load_token_provider

_OURS: Final = frozenset(
    {
        "acks",
        "allow_auto_create_topics",
        "auto_offset_reset",
        "enable_auto_commit",
        "enable_idempotence",
        "group_id",
        "group_instance_id",
        "isolation_level",
        "key_deserializer",
        "key_serializer",
        "partition_assignment_strategy",
        "partitioner",
        "transactional_id",
        "value_deserializer",
        "value_serializer",
    }
)
"""Options that exactly-once depends on; users cannot set them."""

_WITH_SASL: Final = ("SASL_PLAINTEXT", "SASL_SSL")
_BY_PASSWORD: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_PROVIDER: Final = "sasl_oauth_token_provider"
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "security_protocol": ("PLAINTEXT", "SSL", *_WITH_SASL),
    "sasl_mechanism": known_options.MECHANISMS,
    "compression_type": ("gzip", "snappy", "lz4", "zstd"),
    "client_dns_lookup": ("use_all_dns_ips", "resolve_canonical_bootstrap_servers_only"),
}
_FILES: Final = ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_crlfile")


def client_options(given: Mapping[str, Any], client: str = DEFAULT) -> dict[str, Any]:
    """Return `given` in kafka-python's types: strings are converted to the type of the option's default.

    Values that cannot work are refused here, because the client itself tries for half a minute and then gives no
    reason.

    Parameters
    ----------
    client
        Name of the library that gets the options.

    Raises
    ------
    SettingsError
        If an option is unknown to kafka-python, is one that exactly-once depends on, or cannot have this value.
    OptionRefused
        If the client is librdkafka, and it has no such option or cannot have this value.
    """
    if not given:
        return {}
    known = known_options.defaults()
    options = {name: _typed(name, value, known) for name, value in given.items()}
    for name in _FILES:
        path = options.get(name)
        if path and not Path(path).is_file():
            raise SettingsError(f"{_where(name)} names {path}, which is no file")
    _check_sasl(options)
    if isinstance(options.get(_PROVIDER), str):
        try:
            options[_PROVIDER] = load_token_provider(options[_PROVIDER])
        except TokenError as error:
            raise SettingsError(f"{_where(_PROVIDER)} {error}") from error
    if client == LIBRDKAFKA:
        _check_translation(options)
    return options


def _check_translation(options: Mapping[str, Any]) -> None:
    """Raise OptionRefused unless librdkafka can have these options."""
    from runtime.kafka_client.librdkafka.options import OptionRefused, translated

    try:
        translated(options, "consumer")
    except OptionRefused as error:
        raise OptionRefused(error.option, error.way, _where(error.option)) from None


def _check_sasl(options: Mapping[str, Any]) -> None:
    """Raise SettingsError unless the authentication options are complete and in use."""
    protocol, mechanism = options.get("security_protocol", "PLAINTEXT"), options.get("sasl_mechanism")
    if protocol not in _WITH_SASL:
        if mechanism is not None:
            ways = " or ".join(_WITH_SASL)
            raise SettingsError(f"{_where('security_protocol')} must be {ways}: without it sasl_mechanism does nothing")
        return
    if mechanism is None:
        raise SettingsError(f"{_where('sasl_mechanism')} is missing: {protocol} needs {_listed('sasl_mechanism')}")
    needed = {_PROVIDER} if mechanism == "OAUTHBEARER" else set()
    if mechanism in _BY_PASSWORD:
        needed = {"sasl_plain_username", "sasl_plain_password"}
    for name in sorted(needed, reverse=True):
        if not options.get(name):
            raise SettingsError(f"{_where(name)} is missing: {mechanism} needs it")
    if mechanism == "AWS_MSK_IAM" and protocol != "SASL_SSL":
        raise SettingsError(f"{_where('security_protocol')} must be SASL_SSL for {mechanism}")


def _where(name: str) -> str:
    return f"{KAFKA_PREFIX}{name.upper()} (or {name} under [kafka] in {CONFIG_FILE})"


def _listed(name: str) -> str:
    *some, last = _CHOICES[name]
    return f"{', '.join(some)} or {last}"


def _typed(name: str, value: Any, known: Mapping[str, Any]) -> Any:
    where = _where(name)
    if name == "bootstrap_servers":
        raise SettingsError(f"{where}: name the cluster with MILLSTREAM_BOOTSTRAP instead")
    if name in _OURS:
        raise SettingsError(f"{where}: exactly-once depends on it; leave it out")
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise SettingsError(f"{where} is no option of {known_options.LIBRARY}{hint}")
    if name in _CHOICES and value not in _CHOICES[name]:
        raise SettingsError(f"{where} must be {_listed(name)}")
    if not isinstance(value, str):
        return value
    default = known[name]
    try:
        if isinstance(default, bool):
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[value.lower()]
        if isinstance(default, int) or (default is None and name.endswith(("_ms", "_bytes"))):
            return int(value)
        if isinstance(default, float):
            return float(value)
    except (ValueError, KeyError):
        # The message does not show the value, because under a wrong name it could be a secret.
        kind = type(default).__name__ if default is not None else "int"
        raise SettingsError(f"{where} must be of type {kind}") from None
    return value
