"""Configuration of the embedded broker: server properties, logging and ports."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from millstream.embedded_kafka.errors import BrokerError

DEFAULT_PORT: Final = 19092
# These are below the ports that systems assign to outgoing connections. Among those, a client that calls a stopped
# broker could be assigned the broker's own port, connect to itself, and block the broker's restart.
_FREE_PORTS: Final = range(20_000, 32_000)

SETTINGS: Final[Mapping[str, str]] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    # There is one node, so nothing can be replicated.
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Creating these partitions delays the first prediction, so there are few.
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "1",
    # The topic is read completely at each start, before any group can work. Only closed segments are compacted, so with
    # the default of 100 MB, reading a day of small commits takes minutes.
    "offsets.topic.segment.bytes": "8388608",
    "transaction.state.log.segment.bytes": "8388608",
    "group.initial.rebalance.delay.ms": "0",
    "auto.create.topics.enable": "false",
    # A shorter interval is unsafe: a restarted broker would abort timed-out transactions before its partitions have
    # leaders, and would write no markers. Readers would hang, and the next transaction could commit the dead records.
    # The process that owned the transaction restarts long before this and aborts it properly.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "60000",
    # Ten years, so that a loop that was stopped for months still finds its offsets.
    "offsets.retention.minutes": "5256000",
    # The default needs 128 MB, a quarter of the heap.
    "log.cleaner.dedupe.buffer.size": "16777216",
}

_LOG4J: Final = """\
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = {log}
appender.file.filePattern = {log}.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{{ISO8601}} %p %c{{1}}: %m%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 10MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 3
rootLogger.level = info
rootLogger.appenderRef.file.ref = file
# Screens full of the settings, at each start.
logger.config.name = org.apache.kafka.common.config
logger.config.level = warn
"""


def server_properties(*, data: Path, port: int, controller_port: int, extra: Mapping[str, str]) -> str:
    """Return the text of a ``server.properties``; `extra` overrides Millstream's own settings."""
    settings = {
        **SETTINGS,
        "log.dirs": str(data),
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        **extra,
    }
    return "".join(f"{name}={_escaped(value)}\n" for name, value in settings.items())


def controller_properties(*, data: Path, port: int) -> str:
    """Return the settings of a lone controller, over the data of a broker that is not running.

    Its sessions are as short as possible, because no broker connects to it.
    """
    settings = {
        **{name: SETTINGS[name] for name in ("node.id", "controller.listener.names", "listener.security.protocol.map")},
        "process.roles": "controller",
        "log.dirs": str(data),
        "listeners": f"CONTROLLER://127.0.0.1:{port}",
        "controller.quorum.voters": f"1@127.0.0.1:{port}",
        "broker.session.timeout.ms": "300",
        "broker.heartbeat.interval.ms": "100",
    }
    return "".join(f"{name}={_escaped(value)}\n" for name, value in settings.items())


def log4j_properties(log: Path) -> str:
    """Return the text of a Log4j configuration that keeps the last 40 MB."""
    return _LOG4J.format(log=_escaped(str(log)))


def _escaped(value: str) -> str:
    r"""Return a value escaped for Java's properties files.

    >>> print(_escaped("a\\b\nc"))
    a\\b\nc
    """
    text = value.replace("\\", "\\\\").replace("\n", "\\n")
    return "\\" + text if text.startswith(" ") else text


def is_free(port: int) -> bool:
    """Return whether a server can listen on this port of the loopback address.

    Raises
    ------
    BrokerError
        If this user is not allowed to use the port.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise BrokerError(f"port {port} cannot be used ({error.strerror}); choose one above 1024") from error
    return True


def free_port() -> int:
    """Return a free port of the loopback address."""
    for port in random.sample(_FREE_PORTS, k=200):
        if is_free(port):
            return port
    raise BrokerError("none of 200 ports between 20000 and 32000 is free; name one with --port")
