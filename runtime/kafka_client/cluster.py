"""How a Kafka cluster is reached: the one place where a client is made.

The settings guard against defaults of kafka-python 3.0 that lose data or time; the reason is beside each.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError, TopicAuthorizationFailedError
from kafka.net.compat import KafkaNetClient

from runtime.kafka_client.diagnosis import explain
from runtime.kafka_client.oauth_tokens import TokenError, TokenProvider
from runtime.kafka_client.socket_cleanup import DIRECT

_EVERY_CLIENT: Final[Mapping[str, Any]] = MappingProxyType(
    {
        # At the default of 30 s the first acknowledgement after a 4 s outage came 10 s late.
        "reconnect_backoff_max_ms": 1000,
        # At 100 a transaction a batch has a p99 of 212 ms; at 5 it is 33 ms.
        "retry_backoff_ms": 5,
        # Something listens, or no client is made: what has not answered by then is no Kafka, or lets nobody in.
        "bootstrap_timeout_ms": 15_000,
    }
)
_CONSUMER: Final[Mapping[str, Any]] = MappingProxyType(
    {
        **_EVERY_CLIENT,
        "allow_auto_create_topics": False,
        "enable_auto_commit": False,
        "isolation_level": "read_committed",
        # A reader that fell off retention must not jump silently.
        "auto_offset_reset": "none",
        # A group that was joined before its topics were known everywhere gets no partitions; it joins
        # again when the client next looks, which by default is after five minutes.
        "metadata_max_age_ms": 10_000,
        "metrics_enabled": False,
    }
)
_PRODUCER: Final[Mapping[str, Any]] = MappingProxyType(
    {**_EVERY_CLIENT, "allow_auto_create_topics": False, "metrics_enabled": False}
)


class NoBroker(Exception):  # noqa: N818
    """No Kafka answers where one was expected; start one, or correct the address."""


class MissingTopic(Exception):  # noqa: N818
    """A topic that is needed is not there; the message says how it is made."""


class KafkaAccessDenied(Exception):  # noqa: N818
    """The cluster does not let this user do what is needed; the message names it, and where all rights are listed."""


def require_sight(described: Iterable[Mapping[str, Any]]) -> None:
    """Insist that none of the topics described is one that the user may not know. NotAllowed."""
    hidden = [each["name"] for each in described if each["error_code"] == TopicAuthorizationFailedError.errno]
    if hidden:
        raise KafkaAccessDenied(f"Kafka does not let this user Describe topic {hidden[0]}: {ASK}")


ASK: Final = "`millstream topics acls STREAM` lists what each role must be allowed"


@dataclass(frozen=True)
class TopicInfo:
    """What tells one topic from another of the same name: its id, and how many partitions it has."""

    id: str
    partitions: int


@dataclass(frozen=True)
class Cluster:
    """An address and the options that every client gets (security settings, mostly).

    Parameters
    ----------
    bootstrap
        ``host:port``, several with commas.
    options
        Passed to kafka-python as they are.
    """

    bootstrap: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def consumer(self, **settings: Any) -> KafkaConsumer:
        """Return a consumer that reads committed records, commits nothing and jumps nowhere by itself."""
        return self._make(KafkaConsumer, {**_CONSUMER, **settings})

    def producer(self, **settings: Any) -> KafkaProducer:
        """Return a producer; it creates no topics."""
        return self._make(KafkaProducer, {**_PRODUCER, **settings})

    @contextmanager
    def admin(self) -> Iterator[KafkaAdminClient]:
        """Lend an admin client."""
        settings = {"reconnect_backoff_max_ms": 1000, "request_timeout_ms": 10_000, "bootstrap_timeout_ms": 15_000}
        client = self._make(KafkaAdminClient, settings)
        try:
            yield client
        finally:
            client.close()

    def topic_info(self, *topics: str) -> dict[str, TopicInfo]:
        """Return id and partition count of those of `topics` that exist."""
        with self.admin() as admin:
            found = admin.describe_topics(list(topics))
        require_sight(found)
        return {
            topic["name"]: TopicInfo(str(UUID(str(topic["topic_id"]))), len(topic["partitions"]))
            for topic in found
            if topic["error_code"] == 0
        }

    def answers(self, timeout: float = 1.0) -> bool:
        """Tell whether something listens at any of the addresses, within `timeout` seconds."""
        for address in self.bootstrap.split(","):
            host, _, port = address.strip().rpartition(":")
            try:
                with socket.create_connection((host or "localhost", int(port)), timeout=timeout):
                    return True
            except (OSError, ValueError):
                continue
        return False

    def require(self, timeout: float = 0.0) -> None:
        """Wait up to `timeout` seconds for something to listen.

        Raises
        ------
        NoBroker
            Where nothing does: the client's own search would take half a minute to say so.
        """
        deadline = time.monotonic() + timeout
        while not self.answers():
            if time.monotonic() >= deadline:
                raise NoBroker(
                    f"no Kafka answers at {self.bootstrap}: start the embedded one with `millstream broker start`, "
                    "or name another with MILLSTREAM_BOOTSTRAP"
                )
            time.sleep(0.1)

    def _require_token(self) -> None:
        """Insist on a token where the cluster asks for one: the client would try for long, and not say why."""
        provider = self.options.get("sasl_oauth_token_provider")
        if isinstance(provider, TokenProvider):
            try:
                provider.token()
            except TokenError as error:
                raise NoBroker(f"no Kafka client for {self.bootstrap}: {error}") from error

    def _make(self, kind: Any, settings: dict[str, Any]) -> Any:
        self.require()
        self._require_token()
        # An option is for those clients that know it: compression is the producer's, security is everybody's.
        given = {name: value for name, value in self.options.items() if name in kind.DEFAULT_CONFIG}
        made: list[Any] = []

        def connections(**config: Any) -> Any:
            made.append(KafkaNetClient(**config))
            return made[-1]

        settings = {**settings, **given, "bootstrap_servers": self.bootstrap.split(","), "kafka_client": connections}
        if not {"proxy_url", "socks5_proxy"} & given.keys():
            settings["proxy_url"] = DIRECT
        try:
            client = kind(**settings)
            # The option allow_auto_create_topics never gets as far as the questions that create topics.
            if kind is KafkaConsumer:
                client._client._manager.cluster.config["allow_auto_create_topics"] = False
            elif kind is KafkaProducer:
                client._metadata.config["allow_auto_create_topics"] = False
            return client
        except KafkaError as error:
            for each in made:
                # Who constructs a client that finds no broker gets nothing to close: its files would stay open.
                each.close()
            why = explain(self.bootstrap, self.options) if isinstance(error, KafkaTimeoutError) else None
            said = why or f"{type(error).__name__}: {error}"
            raise NoBroker(f"no Kafka client for {self.bootstrap}: {said}") from error
