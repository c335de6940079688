"""Settings of every process: home folder, Kafka cluster, name prefix, model store and client options."""

from __future__ import annotations

import json
import os
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from millstream.config.errors import CONFIG_FILE, KAFKA_PREFIX, SettingsError
from runtime.kafka_client.library_names import DEFAULT as DEFAULT_CLIENT

if TYPE_CHECKING:
    from millstream.embedded_kafka.broker import EmbeddedBroker
    from millstream.embedded_kafka.java import Compiler
    from millstream.stream.stream import Stream
    from runtime.kafka_client.cluster import Cluster
    from schemas.schema_registry import Registry
    from schemas.topics import Names

DEFAULT_HOME: Final = Path("~/.millstream")


@dataclass(frozen=True)
class Settings:
    """Settings shared by every process of Millstream.

    Attributes
    ----------
    home
        Folder of keys, model store, local state and embedded broker.
    bootstrap
        ``host:port`` of a Kafka, several with commas; `None` is the embedded broker.
    prefix
        Prefix of every topic, group and transactional id.
    kafka
        Options of kafka-python, as written (strings) or typed; they may hold secrets and are never shown.
    store
        The model store's address; `None` is ``home/models``.
    registry
        Options of the schema registry, as written (`registry_options`); never shown.
    client
        Library of the Kafka clients, one of `library_names.LibraryName`.
    broker_compiler
        Compilers of the Java that runs the embedded broker (`millstream.embedded_kafka.java`).
    """

    home: Path
    bootstrap: str | None = None
    prefix: str = ""
    kafka: Mapping[str, Any] = field(default_factory=dict, repr=False)
    store: str | None = None
    registry: Mapping[str, Any] = field(default_factory=dict, repr=False)
    client: str = DEFAULT_CLIENT
    broker_compiler: Compiler = "c1"

    @property
    def keys(self) -> Path:
        """Return the folder of the signing keys."""
        return self.home / "keys"

    @property
    def tokens(self) -> Path:
        """Return the folder of the tokens that callers over HTTP have."""
        return self.home / "tokens"

    @property
    def models(self) -> str:
        """Return the model store's address: a folder, or the one in `store`; each prefix has its own."""
        from model_store import below

        return below(self.store or str(self.home / "models"), self.prefix)

    @property
    def broker(self) -> Path:
        """Return the embedded broker's folder."""
        return self.home / "broker"

    def embedded_broker(self) -> EmbeddedBroker:
        """Return the embedded broker of this home; it may not be running."""
        from millstream.embedded_kafka.broker import EmbeddedBroker

        return EmbeddedBroker(self.broker, compiler=self.broker_compiler)

    def names(self, stream: str | Stream) -> Names:
        """Return every name of `stream` on the cluster. Raises InvalidName if the stream's name is invalid.

        Given only a name, the result lacks the external topics that the stream reads.
        """
        from schemas.topics import Names

        if isinstance(stream, str):
            return Names(stream, self.prefix)
        return Names(
            stream.name,
            self.prefix,
            stream.elsewhere,
            stream.labels_from,
            stream.predictions.public,
            tuple(stream.named),
            stream.promote is not None,
            bool(stream.notify),
            stream.takes_metrics,
            tuple(source.topic for source in stream.metrics_sources),
            tuple(stream.batch),
        )

    def state(self, names: Names) -> Path:
        """Return the folder of one stream's local state; it may not exist yet."""
        return self.home / "state" / f"{names.prefix}{names.stream}"

    def cluster(self) -> Cluster:
        """Return the cluster to use: the named one, else the embedded broker. Its clients are of the library `client`.

        Raises
        ------
        ClientUnavailable
            If the library is not installed.
        OptionRefused
            If it lacks an option of the client that is set.
        NoBroker
            If none is named and the embedded broker is not running.
        SettingsError
            If an option of the client is invalid; see `client_options`.
        """
        from millstream.config.kafka_options import client_options
        from runtime.kafka_client.cluster import Cluster, NoBroker
        from runtime.kafka_client.libraries import library_named

        options = client_options(self.kafka, self.client)
        library = library_named(self.client)
        if self.bootstrap is not None:
            return Cluster(self.bootstrap, options, library)
        address = self.embedded_broker().address()
        if address is None:
            raise NoBroker(
                f"the embedded broker in {self.broker} is not running: start it with `millstream broker start`, "
                "or name another Kafka with MILLSTREAM_BOOTSTRAP"
            )
        return Cluster(address, options, library)

    def schema_registry(self, say: Callable[[str], None] = print) -> Registry | None:
        """Return the schema registry that the settings name, if any. Raises SettingsError if a setting is invalid."""
        from millstream.config.schema_registry_options import open_registry

        return open_registry(self.registry, say)

    def environment(self) -> dict[str, str]:
        """Return environment variables that give a child process the same settings, whatever its flags' defaults."""
        from millstream.config.schema_registry_options import registry_environment

        given = {
            "MILLSTREAM_HOME": str(self.home),
            "MILLSTREAM_PREFIX": self.prefix,
            "MILLSTREAM_STORE": self.store or str(self.home / "models"),
            "MILLSTREAM_CLIENT": self.client,
        }
        if self.bootstrap is not None:
            given["MILLSTREAM_BOOTSTRAP"] = self.bootstrap
        given |= {KAFKA_PREFIX + name.upper(): _written(value) for name, value in self.kafka.items()}
        return given | registry_environment(self.registry)


def read_config(environ: Mapping[str, str] = os.environ) -> tuple[Path, dict[str, Any]]:
    """Return the configuration file's path and contents: MILLSTREAM_CONFIG, else millstream.toml here.

    Raises
    ------
    SettingsError
        If the file is named and missing, or is not valid TOML.
    """
    named = environ.get("MILLSTREAM_CONFIG")
    path = Path(named or CONFIG_FILE).expanduser().absolute()
    try:
        return path, tomllib.loads(path.read_text())
    except FileNotFoundError:
        if named:
            raise SettingsError(f"MILLSTREAM_CONFIG names {path}, which is not there") from None
        return path, {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} cannot be read as TOML: {error}") from error


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def interpreter() -> list[str]:
    """Return the command that runs Millstream in a new process, without the current folder on its import path."""
    return [sys.executable, "-P", "-m", "millstream"]
