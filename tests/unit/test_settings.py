"""Settings: where each comes from, and what becomes of the Kafka client's own options."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from millstream.config.errors import SettingsError
from millstream.config.kafka_options import client_options
from millstream.config.precedence import kafka_options
from millstream.config.settings import Settings, read_config
from runtime.kafka_client.libraries import ClientUnavailable
from runtime.kafka_client.library_names import DEFAULT
from runtime.kafka_client.librdkafka.options import OptionRefused


def test_environment_is_over_the_file_for_kafka_options() -> None:
    file = {"kafka": {"client_id": "file", "security-protocol": "SSL"}}
    environment = {"MILLSTREAM_KAFKA_CLIENT_ID": "environment", "MILLSTREAM_KAFKAX": "no", "PATH": "/bin"}
    assert kafka_options(file, environment) == {"client_id": "environment", "security_protocol": "SSL"}


def test_strings_become_what_the_option_is() -> None:
    given = {
        "request_timeout_ms": "7000",
        "ssl_check_hostname": "false",
        "sasl_plain_password": "0123",
        "client_id": "7",
    }
    assert client_options(given) == {
        "request_timeout_ms": 7000,
        "ssl_check_hostname": False,
        "sasl_plain_password": "0123",
        "client_id": "7",
    }


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bootstrap_servers", "MILLSTREAM_BOOTSTRAP"),
        ("isolation_level", "exactly-once depends on it"),
        ("group_instance_id", "exactly-once depends on it"),
        ("acks", "exactly-once depends on it"),
        ("sasl_mechanisms", "did you mean sasl_mechanism?"),
        ("security_protocol", "must be PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"),
        ("sasl_mechanism", "must be AWS_MSK_IAM, GSSAPI, OAUTHBEARER, PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"),
        ("compression_type", "must be gzip, snappy, lz4 or zstd"),
        ("ssl_cafile", "names x, which is no file"),
    ],
)
def test_an_option_that_cannot_be_is_named_with_the_way_out(name: str, said: str) -> None:
    with pytest.raises(SettingsError, match=f"MILLSTREAM_KAFKA_{name.upper()}.*{said.replace('?', '[?]')}"):
        client_options({name: "x"})


SCRAM = {
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "SCRAM-SHA-512",
    "sasl_plain_username": "u",
    "sasl_plain_password": "canary-secret",
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sasl_mechanism": ""}, "SASL_MECHANISM .* is missing: SASL_SSL needs AWS_MSK_IAM, .* or SCRAM-SHA-512"),
        ({"sasl_plain_username": ""}, "SASL_PLAIN_USERNAME .* is missing: SCRAM-SHA-512 needs it"),
        ({"sasl_plain_password": ""}, "SASL_PLAIN_PASSWORD .* is missing: SCRAM-SHA-512 needs it"),
        ({"security_protocol": "SSL"}, "SECURITY_PROTOCOL .* must be SASL_PLAINTEXT or SASL_SSL"),
        ({"security_protocol": ""}, "SECURITY_PROTOCOL .* must be SASL_PLAINTEXT or SASL_SSL"),
        ({"sasl_mechanism": "OAUTHBEARER"}, "SASL_OAUTH_TOKEN_PROVIDER .* is missing: OAUTHBEARER needs it"),
        ({"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "AWS_MSK_IAM"}, "must be SASL_SSL for AWS_MSK_IAM"),
    ],
)
def test_half_of_what_proves_who_one_is_is_told_before_anything_is_tried(change: dict[str, str], said: str) -> None:
    options = {name: value for name, value in {**SCRAM, **change}.items() if value}
    with pytest.raises(SettingsError, match=said) as caught:
        client_options(options)
    assert "canary-secret" not in str(caught.value)


def test_all_that_proves_who_one_is_passes() -> None:
    assert client_options(SCRAM) == SCRAM


def test_a_wrong_value_is_never_repeated_in_the_message() -> None:
    with pytest.raises(SettingsError) as caught:
        client_options({"request_timeout_ms": "canary-secret"})
    assert "canary-secret" not in str(caught.value)
    assert "must be of type int" in str(caught.value)


def test_secrets_are_not_in_the_repr() -> None:
    assert "canary-secret" not in repr(Settings(Path("/h"), kafka={"sasl_plain_password": "canary-secret"}))


def test_a_child_process_is_given_the_same_settings() -> None:
    settings = Settings(Path("/h"), "b:1", "ann-", {"ssl_check_hostname": False, "client_id": "me"}, "/elsewhere")
    environment = settings.environment()
    assert environment == {
        "MILLSTREAM_HOME": "/h",
        "MILLSTREAM_BOOTSTRAP": "b:1",
        "MILLSTREAM_PREFIX": "ann-",
        "MILLSTREAM_STORE": "/elsewhere",
        "MILLSTREAM_CLIENT": "kafka-python",
        "MILLSTREAM_KAFKA_SSL_CHECK_HOSTNAME": "false",
        "MILLSTREAM_KAFKA_CLIENT_ID": "me",
    }
    assert client_options(kafka_options({}, environment)) == {"ssl_check_hostname": False, "client_id": "me"}


def test_the_cluster_gets_the_library_that_the_settings_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings(Path("/h"), "b:1").cluster().library.name == DEFAULT
    assert Settings(Path("/h"), "b:1", client="kafka-python").cluster().library.name == "kafka-python"
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(ClientUnavailable, match="install the extra"):
        Settings(Path("/h"), "b:1", client="librdkafka").cluster()
    # An option that it lacks is told before that.
    with pytest.raises(OptionRefused, match="MILLSTREAM_KAFKA_SOCKS5_PROXY"):
        Settings(Path("/h"), "b:1", kafka={"socks5_proxy": "socks5://p"}, client="librdkafka").cluster()


def test_each_stream_and_prefix_has_a_state_folder_of_its_own() -> None:
    plain, shared = Settings(Path("/h")), Settings(Path("/h"), prefix="ann.")
    assert plain.state(plain.names("a")) == Path("/h/state/a")
    assert shared.state(shared.names("a")) == Path("/h/state/ann.a")


def test_a_named_file_must_be_there_and_be_toml(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="which is not there"):
        read_config({"MILLSTREAM_CONFIG": str(tmp_path / "none.toml")})
    broken = tmp_path / "broken.toml"
    broken.write_text("home = ")
    with pytest.raises(SettingsError, match="cannot be read as TOML"):
        read_config({"MILLSTREAM_CONFIG": str(broken)})
