"""How a schema registry is named: the environment over the file, one line for what cannot be, no secret in any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from registry_server import registry_server

from millstream.config.errors import SettingsError
from millstream.config.schema_registry_options import open_registry, registry_environment, registry_options
from millstream.config.settings import Settings

SECRET = "canary-secret"  # noqa: S105 - looked for where it must not be


def test_the_environment_is_over_the_file_and_a_password_over_a_file_of_it() -> None:
    file = {"registry": {"url": "http://a", "user": "me", "password-file": "/run/secret", "auto_register": True}}
    environment = {"MILLSTREAM_REGISTRY_URL": "http://b", "MILLSTREAM_REGISTRY_PASSWORD": SECRET, "PATH": "/bin"}
    found = registry_options(file, environment)
    assert found == {"url": "http://b", "user": "me", "password": SECRET, "auto_register": True}
    assert registry_options({}, registry_environment(found)) == {**found, "auto_register": "True"}


def test_children_are_given_several_addresses_as_several() -> None:
    options: dict[str, Any] = {"url": ["http://a:1", "http://b:2, http://c:3"]}
    found = registry_options({}, registry_environment(options))
    assert found == {"url": "http://a:1,http://b:2, http://c:3"}
    assert open_registry(found) is not None


def test_nothing_said_is_no_registry() -> None:
    assert open_registry(registry_options({}, {"MILLSTREAM_REGISTRY_URL": ""})) is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"user": "me"}, "MILLSTREAM_REGISTRY_URL .or url under .registry. in millstream.toml. too"),
        ({"url": 5}, "MILLSTREAM_REGISTRY_URL .* must be an address"),
        ({"url": f"http://me:{SECRET}@host"}, "MILLSTREAM_REGISTRY_URL .*MILLSTREAM_REGISTRY_PASSWORD"),
        ({"url": "http://a", "password": SECRET}, "is set without a user: set MILLSTREAM_REGISTRY_USER"),
        ({"url": "http://a", "password": SECRET, "password_file": "x"}, "both set; leave one out"),
        ({"url": "http://a", "user": "me", "password_file": "/nowhere"}, "/nowhere cannot be read: No such file"),
        ({"url": "http://a", "timeout": "soon"}, "MILLSTREAM_REGISTRY_TIMEOUT .*seconds"),
        ({"url": "http://a", "auto_register": SECRET}, "must be true or false"),
        ({"url": "https://a", "ca": "/nowhere.pem"}, "certificates in /nowhere.pem cannot be read"),
    ],
)
def test_settings_that_cannot_be_are_named_and_secrets_are_not(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said) as raised:
        open_registry(options)
    assert SECRET not in str(raised.value)


def test_a_misspelt_name_is_refused() -> None:
    for given in ({"MILLSTREAM_REGISTRY_URLS": "http://a"}, {"MILLSTREAM_REGISTRY_USERNAME": SECRET}):
        with pytest.raises(SettingsError, match=r"is no setting; did you mean (url|user)\?"):
            registry_options({}, given)
    with pytest.raises(SettingsError, match="must be a table"):
        registry_options({"registry": "http://a"}, {})


def test_settings_lead_to_the_registry_and_never_show_its_password(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\n")
    with registry_server("me", SECRET) as server:
        server.add("a", "long")
        options = {"url": f"http://127.0.0.1:1, {server.url}", "user": "me", "password_file": str(file)}
        settings = Settings(tmp_path, registry=options)
        registry = settings.schema_registry()
        assert registry is not None
        assert registry.schema(1).text == '"long"'
    assert SECRET not in repr(settings)
    assert settings.environment()["MILLSTREAM_REGISTRY_USER"] == "me"
