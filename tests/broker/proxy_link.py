"""One connection through the proxy: requests and answers as frames, matched, lost, late or replaced."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from kafka.protocol import admin, consumer, metadata, producer
from kafka.protocol.api_key import ApiKey

if TYPE_CHECKING:
    from broker.proxy import Address, Proxy, Rule, Way

# How long a link outlives its client, so that the broker still gets, and acts on, what was on its way.
LINGER_SECONDS = 5.0


class Exchange:
    """A request, the rules it met, and its answer once there is one."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        key, self.version, self.correlation_id = struct.unpack_from(">hhi", payload)
        self.api = API_NAMES.get(key, str(key))
        self.rules: list[Rule] = []
        self.reply: bytes | None = None

    def request(self) -> Any:
        return message_class(self.api, "Request").decode(self.payload, version=self.version, header=True)

    def failure(self, error_code: int) -> bytes:
        answer = message_class(self.api, "Response")(version=self.version)
        FAILURES[self.api](answer, self.request(), error_code)
        answer.with_header(correlation_id=self.correlation_id)
        return bytes(answer.encode(header=True))


class Link:
    """A client's connection, closed by whoever made it, and the one to its broker."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.proxy = proxy
        self.client = (reader, writer)
        # In the order of the requests, which is the order that the client expects of the answers.
        self.pending: deque[Exchange] = deque()
        self.silent = False
        self.client_gone = False

    async def run(self, address: Address) -> None:
        broker_writer: asyncio.StreamWriter | None = None
        tasks: list[asyncio.Task[None]] = []
        try:
            self.broker = await asyncio.open_connection(*address)
            broker_writer = self.broker[1]
            tasks = [asyncio.create_task(self._requests()), asyncio.create_task(self._answers())]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self.client_gone and self.pending and not self.silent:
                done, _ = await asyncio.wait(tasks[1:], timeout=LINGER_SECONDS)
            for task in done:
                task.result()
        except (OSError, _Cut):
            pass  # either end may hang up, and what it had in hand then is lost
        finally:
            for task in tasks:
                task.cancel()
            if broker_writer is not None:
                broker_writer.transport.abort()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _requests(self) -> None:
        while (payload := await _read(self.client[0])) is not None:
            exchange = Exchange(payload)
            self.proxy.count(exchange.api, "arrived")
            exchange.rules = self.proxy.rules_for(exchange)
            reply = await self._misbehave(exchange, "request")
            if self.silent:
                continue
            self.pending.append(exchange)
            if reply is not None:
                exchange.reply = reply
                self._send_ready()
            else:
                self.proxy.count(exchange.api, "forwarded")
                _write(self.broker[1], payload)
                await self.broker[1].drain()
        self.client_gone = True

    async def _answers(self) -> None:
        while (payload := await _read(self.broker[0])) is not None:
            (correlation_id,) = struct.unpack_from(">i", payload)
            # Requests that no answer comes for (acks=0) are passed over.
            while self.pending and self.pending[0].correlation_id != correlation_id:
                self.pending.popleft()
            if self.silent or not self.pending:
                continue
            exchange = self.pending[0]
            failure = await self._misbehave(exchange, "response")
            exchange.reply = failure or await self._rewritten(exchange, payload)
            self._send_ready()
            if self.client_gone and not self.pending:
                return

    async def _rewritten(self, exchange: Exchange, payload: bytes) -> bytes:
        if exchange.api not in NAMES_BROKERS or (exchange.api in REDIRECTS and not self.proxy.is_named_in(payload)):
            return payload
        answer = message_class(exchange.api, "Response").decode(payload, version=exchange.version, header=True)
        for broker in NAMES_BROKERS[exchange.api](answer):
            if broker.host:
                broker.host, broker.port = await self.proxy.address_of((broker.host, broker.port))
        return bytes(answer.encode(header=True))

    def _send_ready(self) -> None:
        while self.pending and (reply := self.pending[0].reply) is not None:
            exchange = self.pending.popleft()
            if not self.silent and not self.client[1].is_closing():
                # Counted first: the client must not have its answer while it still counts as not given.
                self.proxy.count(exchange.api, "answered")
                _write(self.client[1], reply)

    async def _misbehave(self, exchange: Exchange, way: Way) -> bytes | None:
        """Does what the rules say; gives the answer that stands in for the broker's, if one does."""
        reply = None
        for rule in exchange.rules:
            if rule.way != way:
                continue
            await rule.pause()
            if rule.cut:
                raise _Cut
            self.silent = self.silent or rule.lose
            if rule.error_code is not None:
                reply = exchange.failure(rule.error_code)
        return reply


class _Cut(Exception):  # noqa: N818  (it ends a link and is no error)
    """The rule says that the link ends here."""


async def _read(reader: asyncio.StreamReader) -> bytes | None:
    """One message without its size, or None where the sender ended."""
    try:
        (size,) = struct.unpack(">i", await reader.readexactly(4))
        return await reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def _write(writer: asyncio.StreamWriter, payload: bytes) -> None:
    writer.write(struct.pack(">i", len(payload)) + payload)


API_NAMES = {int(key): key.name for key in ApiKey}


def known(api: str) -> str:
    if api not in ApiKey.__members__:
        raise ValueError(f"no Kafka request is called {api}, only {', '.join(API_NAMES.values())}")
    return api


def message_class(api: str, kind: Literal["Request", "Response"]) -> Any:
    """kafka-python's class for the request or the answer."""
    for package in (producer, consumer, metadata, admin):
        if hasattr(package, api + kind):
            return getattr(package, api + kind)
    raise ValueError(f"kafka-python has no {api}{kind}")


# Where answers name brokers. FindCoordinator before v4 names its one in the answer itself.
NAMES_BROKERS: dict[str, Callable[[Any], list[Any]]] = {
    "Metadata": lambda answer: list(answer.brokers),
    "DescribeCluster": lambda answer: list(answer.brokers),
    "FindCoordinator": lambda answer: list(answer.coordinators or [answer]),
    "Produce": lambda answer: list(answer.node_endpoints or ()),
    "Fetch": lambda answer: list(answer.node_endpoints or ()),
}
# They name a broker only where another one leads a partition, as for a moment after it is made. librdkafka goes there.
REDIRECTS = ("Produce", "Fetch")


def fail_whole(answer: Any, request: Any, code: int) -> None:
    answer.error_code = code


def fail_init(answer: Any, request: Any, code: int) -> None:
    answer.error_code, answer.producer_id, answer.producer_epoch = code, -1, -1


def fail_produce(answer: Any, request: Any, code: int) -> None:
    topic_type = answer.TopicProduceResponse
    part_type = topic_type.PartitionProduceResponse
    answer.responses = [
        topic_type(
            name=topic.name,
            topic_id=topic.topic_id,
            partition_responses=[
                part_type(index=part.index, error_code=code, base_offset=-1) for part in topic.partition_data
            ],
        )
        for topic in request.topic_data
    ]


def fail_offsets(answer: Any, request: Any, code: int) -> None:
    topic_type = answer.TxnOffsetCommitResponseTopic
    part_type = topic_type.TxnOffsetCommitResponsePartition
    answer.topics = [
        topic_type(
            name=topic.name,
            partitions=[part_type(partition_index=p.partition_index, error_code=code) for p in topic.partitions],
        )
        for topic in request.topics
    ]


def fail_add_partitions(answer: Any, request: Any, code: int) -> None:
    """Up to v3, which is what clients speak; brokers speak v4 and later among themselves."""
    topic_type = answer.AddPartitionsToTxnTopicResult
    part_type = topic_type.AddPartitionsToTxnPartitionResult
    answer.results_by_topic_v3_and_below = [
        topic_type(
            name=topic.name,
            results_by_partition=[
                part_type(partition_index=index, partition_error_code=code) for index in topic.partitions
            ],
        )
        for topic in request.v3_and_below_topics
    ]


def fail_topics(answer: Any, request: Any, code: int) -> None:
    """As a controller puts it whose brokers it has not heard of for a session."""
    said = "Unable to replicate the partition 1 time(s): All brokers are currently fenced"
    answer.topics = [
        answer.CreatableTopicResult(name=topic.name, error_code=code, error_message=said) for topic in request.topics
    ]


def fail_groups(answer: Any, request: Any, code: int) -> None:
    answer.groups = [
        answer.DescribedGroup(
            error_code=code, group_id=group, group_state="", protocol_type="", protocol_data="", members=[]
        )
        for group in request.groups
    ]


FAILURES: dict[str, Callable[[Any, Any, int], None]] = {
    "AddOffsetsToTxn": fail_whole,
    "AddPartitionsToTxn": fail_add_partitions,
    "CreateTopics": fail_topics,
    "DescribeGroups": fail_groups,
    "EndTxn": fail_whole,
    "Heartbeat": fail_whole,
    "InitProducerId": fail_init,
    "Produce": fail_produce,
    "TxnOffsetCommit": fail_offsets,
}
