"""Address of a Kafka cluster, and the only place that makes clients for it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, overload

from runtime.exits import RoleRefused
from runtime.kafka_client.client import (
    Admin,
    Consumer,
    GroupConsumer,
    Library,
    Producer,
    TopicDescription,
    TransactionalProducer,
)
from runtime.kafka_client.diagnosis import explain
from runtime.kafka_client.errors import KafkaError, KafkaTimeoutError, NotAuthorizedError, described
from runtime.kafka_client.libraries import library_named
from runtime.kafka_client.library_names import DEFAULT
from runtime.kafka_client.oauth_tokens import TokenError, TokenProvider

_Client = TypeVar("_Client")


class NoBroker(Exception):  # noqa: N818
    """No Kafka answers where one was expected; start one, or correct the address.

    Parameters
    ----------
    passing
        True if nothing listens there. The broker may be restarting, so a role ends with 75, to be started again.
    """

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


class MissingTopic(Exception):  # noqa: N818
    """A required topic does not exist; the message says how to create it."""


class KafkaAccessDenied(Exception):  # noqa: N818
    """The user lacks a right on the cluster; the message names it, and the command that lists all rights."""


def require_sight(topics: Iterable[TopicDescription]) -> None:
    """Raise KafkaAccessDenied if the user may not describe one of the topics."""
    hidden = [each.name for each in topics if isinstance(each.error, NotAuthorizedError)]
    if hidden:
        raise KafkaAccessDenied(f"Kafka does not let this user Describe topic {hidden[0]}: {ASK}")


ASK: Final = "`millstream topics acls STREAM` lists what each role must be allowed"


@dataclass(frozen=True)
class TopicInfo:
    """Id and partition count of a topic; the id differs between topics of the same name."""

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
        Passed to the client as they are.
    library
        Makes the clients.
    """

    bootstrap: str
    options: Mapping[str, Any] = field(default_factory=dict)
    library: Library = field(default_factory=lambda: library_named(DEFAULT), repr=False, compare=False)

    @overload
    def consumer(self, *, group_id: str, **settings: Any) -> GroupConsumer: ...
    @overload
    def consumer(self, **settings: Any) -> Consumer: ...
    def consumer(self, **settings: Any) -> Consumer:
        """Return a consumer that reads only committed records, never commits and never resets its offset."""
        return self._made(lambda: self.library.consumer(self.bootstrap, self.options, settings))

    @overload
    def producer(self, *, transactional_id: str, **settings: Any) -> TransactionalProducer: ...
    @overload
    def producer(self, **settings: Any) -> Producer: ...
    def producer(self, **settings: Any) -> Producer:
        """Return a producer; it creates no topics."""
        return self._made(lambda: self.library.producer(self.bootstrap, self.options, settings))

    @contextmanager
    def admin(self) -> Iterator[Admin]:
        """Yield an admin client, which is closed afterwards."""
        client = self._made(lambda: self.library.admin(self.bootstrap, self.options))
        try:
            yield client
        finally:
            client.close()

    def topic_info(self, *topics: str) -> dict[str, TopicInfo]:
        """Return id and partition count of those of `topics` that exist."""
        with self.admin() as admin:
            found = admin.describe_topics(topics)
        require_sight(found)
        return {topic.name: TopicInfo(topic.id, len(topic.leaders)) for topic in found if topic.exists}

    def answers(self, timeout: float = 1.0) -> bool:
        """Return whether any of the addresses accepts a connection within `timeout` seconds."""
        for address in self.bootstrap.split(","):
            host, _, port = address.strip().rpartition(":")
            try:
                with socket.create_connection((host or "localhost", int(port)), timeout=timeout):
                    return True
            except (OSError, ValueError):
                continue
        return False

    def require(self, timeout: float = 0.0) -> None:
        """Wait up to `timeout` seconds until an address accepts a connection.

        Raises
        ------
        NoBroker
            If none does. The client's own attempts would take half a minute to report it.
        """
        deadline = time.monotonic() + timeout
        while not self.answers():
            if time.monotonic() >= deadline:
                raise NoBroker(
                    f"no Kafka answers at {self.bootstrap}: start the embedded one with `millstream broker start`, "
                    "or name another with MILLSTREAM_BOOTSTRAP",
                    passing=True,
                )
            time.sleep(0.1)

    def _require_token(self) -> None:
        """Check the token if the cluster needs one; the client would retry for long and not report the cause."""
        provider = self.options.get("sasl_oauth_token_provider")
        if isinstance(provider, TokenProvider):
            try:
                provider.token()
            except TokenError as error:
                raise NoBroker(f"no Kafka client for {self.bootstrap}: {error}") from error

    def _made(self, make: Callable[[], _Client]) -> _Client:
        self.require()
        self._require_token()
        try:
            return make()
        except KafkaError as error:
            if not isinstance(error, KafkaTimeoutError):
                raise NoBroker(f"no Kafka client for {self.bootstrap}: {described(error)}") from error
            if not self.answers():
                # A killed broker's socket takes connections until the system has freed the process's memory.
                why = "what listened there has just ended"
                raise NoBroker(f"no Kafka client for {self.bootstrap}: {why}", passing=True) from error
            why = explain(self.bootstrap, self.options)
            raise NoBroker(f"no Kafka client for {self.bootstrap}: {why}") from error


def existing_topics(cluster: Cluster, topics: Sequence[str]) -> dict[str, TopicInfo]:
    """Return id and partition count of these topics. Raises RoleRefused if one is missing."""
    infos = cluster.topic_info(*topics)
    missing = set(topics) - set(infos)
    if missing:
        raise RoleRefused(f"topic {min(missing)} does not exist: `millstream topics create STREAM` makes it")
    return infos
