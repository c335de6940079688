"""A TCP proxy between a Kafka client and a real broker that misbehaves when a test tells it to.

It understands as much of the protocol as it must: where a request begins and ends, what it asks for,
which answer belongs to it. Everything else passes as bytes. Answers that name brokers (Metadata,
FindCoordinator, DescribeCluster) are rewritten to the proxy's own ports, one for each broker named, so
that a client which bootstraps here never leaves. Addresses that brokers add to Produce v10 and Fetch v16
answers after a change of leader are not rewritten; kafka-python asks for neither version.

    with Proxy(bootstrap) as proxy:
        producer = KafkaProducer(bootstrap_servers=proxy.bootstrap, transactional_id="t")
        lost = proxy.drop_responses("EndTxn")
        ...
        assert lost.wait(timeout=5)

A connection keeps its order, as TCP does: what is held back or delayed holds back what comes after it in
the same direction, and what is lost takes the rest of the connection with it. Either the link falls
silent (the client finds out at its request timeout) or, with ``cut=True``, it is closed at once. A request
that was held back still reaches the broker when its client has hung up meanwhile.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, TypeVar

from broker.proxy_link import FAILURES, Exchange, Link, known

T = TypeVar("T")
Address = tuple[str, int]
Stage = Literal["arrived", "forwarded", "answered"]
Way = Literal["request", "response"]

COMMAND_SECONDS = 10.0


@dataclass(eq=False)
class Rule:
    """One misbehaviour: for requests of ``api``, past the first ``skip``, up to ``times`` of them."""

    api: str
    way: Way
    times: int | None = 1
    skip: int = 0
    when: Callable[[Any], bool] | None = None
    lose: bool = False
    cut: bool = False
    seconds: float = 0.0
    gate: asyncio.Event | None = None
    error_code: int | None = None
    applied: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def takes(self, exchange: Exchange) -> bool:
        if self.api != exchange.api or (self.times is not None and self.applied >= self.times):
            return False
        if self.when is not None and not self.when(exchange.request()):
            return False
        if self.skip:
            self.skip -= 1
            return False
        with self._changed:
            self.applied += 1
            self._changed.notify_all()
        return True

    def wait(self, times: int = 1, timeout: float = 10.0) -> bool:
        """Waits until it applied to so many requests; False if ``timeout`` seconds passed first."""
        with self._changed:
            return self._changed.wait_for(lambda: self.applied >= times, timeout)

    async def pause(self) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.seconds:
            await asyncio.sleep(self.seconds)


class Proxy:
    """Listens on a free loopback port, its ``bootstrap``, and passes everything on to the broker.

    All methods may be called from any thread while clients are connected. A request meets all rules that are
    for it, in the order in which they were set: held, then failed, for example. Each rule is given back so
    that a test can prove that it fired (``rule.applied``, ``rule.wait()``).
    """

    def __init__(self, bootstrap: str) -> None:
        host, _, port = bootstrap.rpartition(":")
        broker = (host, int(port))
        self._rules: list[Rule] = []
        self._counts: Counter[tuple[str, Stage]] = Counter()
        self._changed = threading.Condition()
        self._doors: dict[Address, _Door] = {}
        self._links: set[asyncio.Task[None]] = set()
        self._refusing = False
        self._error: BaseException | None = None
        self._stop = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="kafka-proxy", daemon=True)
        self._thread.start()
        self.bootstrap = "{}:{}".format(*self._call(self.address_of(broker)))

    def drop_requests(
        self,
        api: str,
        times: int | None = 1,
        *,
        skip: int = 0,
        when: Callable[[Any], bool] | None = None,
        cut: bool = False,
    ) -> Rule:
        """The request never reaches the broker. ``when`` sees it as kafka-python's request object."""
        return self._add(Rule(api, "request", times, skip, when, lose=True, cut=cut))

    def drop_responses(
        self,
        api: str,
        times: int | None = 1,
        *,
        skip: int = 0,
        when: Callable[[Any], bool] | None = None,
        cut: bool = False,
    ) -> Rule:
        """The broker does what it was asked to; its answer is eaten."""
        return self._add(Rule(api, "response", times, skip, when, lose=True, cut=cut))

    def delay(
        self,
        api: str,
        seconds: float,
        times: int | None = 1,
        *,
        way: Way = "request",
        skip: int = 0,
        when: Callable[[Any], bool] | None = None,
    ) -> Rule:
        """The request (or its answer) and all behind it come so many seconds late."""
        return self._add(Rule(api, way, times, skip, when, seconds=seconds))

    def hold(
        self,
        api: str,
        times: int | None = None,
        *,
        way: Way = "request",
        skip: int = 0,
        when: Callable[[Any], bool] | None = None,
    ) -> Rule:
        """Requests (or their answers) and all behind them wait for ``release``."""
        return self._add(Rule(api, way, times, skip, when, gate=asyncio.Event()))

    def release(self, api: str | None = None) -> None:
        """Ends every ``hold`` (of ``api``): what waits goes on, what comes is not held."""

        async def release() -> None:
            for rule in [r for r in self._rules if r.gate is not None and api in (None, r.api)]:
                assert rule.gate is not None
                rule.gate.set()
                self._rules.remove(rule)

        self._call(release())

    def fail(
        self,
        api: str,
        error_code: int,
        times: int | None = 1,
        *,
        forward: bool = False,
        skip: int = 0,
        when: Callable[[Any], bool] | None = None,
    ) -> Rule:
        """The client is answered with ``error_code``, for every partition where the answer has partitions.

        Without ``forward`` the broker never hears of the request; with it the broker does what was asked,
        and only the answer is replaced.
        """
        if api not in FAILURES:
            raise ValueError(f"cannot fail {api}, only {', '.join(sorted(FAILURES))}")
        way: Way = "response" if forward else "request"
        return self._add(Rule(api, way, times, skip, when, error_code=error_code))

    def clear(self) -> None:
        """Forgets all rules and releases what is held."""
        self.release()

        async def clear() -> None:
            self._rules.clear()

        self._call(clear())

    def cut(self) -> None:
        """Closes all connections, in mid-request if need be. Clients may connect again."""
        self._call(self._cut())

    def refuse(self, on: bool = True) -> None:
        """An outage: closes all connections and refuses new ones, until ``refuse(False)``."""

        async def refuse() -> None:
            self._refusing = on
            for door in self._doors.values():
                await (door.shut() if on else door.open(self._enter))
            if on:
                await self._cut()

        self._call(refuse())

    def seen(self, api: str, stage: Stage = "arrived") -> int:
        """How many requests arrived from clients, were forwarded to the broker, or were answered."""
        with self._changed:
            return self._counts[known(api), stage]

    def wait_for(self, api: str, n: int = 1, timeout: float = 10.0, stage: Stage = "arrived") -> bool:
        """Waits until ``seen(api, stage)`` is at least ``n``; False if ``timeout`` seconds passed first."""
        key = (known(api), stage)
        with self._changed:
            return self._changed.wait_for(lambda: self._counts[key] >= n, timeout)

    def close(self) -> None:
        """Closes every connection and socket and ends the thread. May be called twice.

        Raises what went wrong in the proxy itself, a ``when`` that raised for example: to the client that
        looked like a broker which hung up, and a test must not pass for it.
        """
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
            if self._error is not None:
                raise self._error

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # What follows runs in the proxy's own thread, so that none of it needs a lock.

    def count(self, api: str, stage: Stage) -> None:
        with self._changed:
            self._counts[api, stage] += 1
            self._changed.notify_all()

    def rules_for(self, exchange: Exchange) -> list[Rule]:
        return [rule for rule in self._rules if rule.takes(exchange)]

    async def address_of(self, broker: Address) -> Address:
        """The loopback address that stands for a broker, opened when it is first asked for."""
        if broker not in self._doors:
            door = self._doors[broker] = _Door(broker)
            if not self._refusing:
                await door.open(self._enter)
        return self._doors[broker].address

    def is_named_in(self, payload: bytes) -> bool:
        """Whether an answer may name a broker: it holds the bytes of one's port."""
        return any(struct.pack(">i", port) in payload for _, port in self._doors)

    def _add(self, rule: Rule) -> Rule:
        known(rule.api)

        async def add() -> Rule:
            self._rules.append(rule)
            return rule

        return self._call(add())

    def _call(self, command: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(command, self._loop).result(COMMAND_SECONDS)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        await self._stop.wait()
        self._refusing = True
        for door in self._doors.values():
            await door.shut()
            door.claim.close()
        await self._cut()

    async def _cut(self) -> None:
        links = list(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)
        await asyncio.sleep(0)  # an aborted transport closes its socket in the loop's next turn

    def _enter(self, broker: Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:  # it was accepted just before the door was shut
            writer.transport.abort()
            return
        link = self._loop.create_task(Link(self, reader, writer).run(broker))
        self._links.add(link)
        link.add_done_callback(self._leave)
        # A link that is cancelled before its first step cannot close anything itself.
        link.add_done_callback(lambda _: writer.transport.abort())

    def _leave(self, link: asyncio.Task[None]) -> None:
        self._links.discard(link)
        if not link.cancelled() and (error := link.exception()) and self._error is None:
            self._error = error


class _Door:
    """The port that stands for one broker."""

    def __init__(self, broker: Address) -> None:
        self.broker = broker
        self.server: asyncio.Server | None = None
        # Bound but never listening: keeps the port ours through an outage, and connecting to it is refused.
        self.claim = self._bound(0)
        self.address: Address = self.claim.getsockname()

    @staticmethod
    def _bound(port: int) -> socket.socket:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
        return sock

    async def open(self, enter: Callable[[Address, asyncio.StreamReader, asyncio.StreamWriter], None]) -> None:
        if self.server is None:
            sock = self._bound(self.address[1])
            self.server = await asyncio.start_server(lambda r, w: enter(self.broker, r, w), sock=sock)

    async def shut(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None
