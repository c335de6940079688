"""What the embedded broker is told: its settings, how it logs, and the ports it takes."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from millstream.embedded_kafka.errors import BrokerError

DEFAULT_PORT: Final = 19092
# Below the ports that systems give to outgoing connections: there, a client that calls a broker which is down can be
# given the broker's own port, reach itself, and keep the broker from coming back.
_FREE_PORTS: Final = range(20_000, 32_000)

SETTINGS: Final[Mapping[str, str]] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    # One node: what three would share, it holds alone.
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Made at the first use, in the way of the first prediction.
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "1",
    # Read whole at each start, before any group can work, and compacted only behind the segment that is written to: at
    # the default of 100 MB a day of small commits takes minutes.
    "offsets.topic.segment.bytes": "8388608",
    "transaction.state.log.segment.bytes": "8388608",
    "group.initial.rebalance.delay.ms": "0",
    "auto.create.topics.enable": "false",
    # Not sooner: a broker that starts again aborts what has timed out meanwhile before its partitions have
    # leaders, and then writes no markers. Readers hang, and the dead records can be committed by the next
    # transaction. The process whose transaction it was is back long before this, and aborts it properly.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "60000",
    # A loop that was stopped for months must find its place again: ten years.
    "offsets.retention.minutes": "5256000",
    # The default takes 128 MB, a quarter of the heap.
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
    """Return the text of a ``server.properties``; `extra` is stronger than our own settings."""
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
    """Return the text of the settings of a controller alone, over the data of a broker that does not run.

    Its sessions are as short as can be: nobody has one with it.
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
    r"""Return a value as Java reads it from a properties file.

    >>> print(_escaped("a\\b\nc"))
    a\\b\nc
    """
    text = value.replace("\\", "\\\\").replace("\n", "\\n")
    return "\\" + text if text.startswith(" ") else text


def is_free(port: int) -> bool:
    """Say whether a server could listen on this port of the loopback address.

    Raises
    ------
    BrokerError
        Where the port may not be taken by us at all.
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
    """Return a port of the loopback address that nobody listens on now."""
    for port in random.sample(_FREE_PORTS, k=200):
        if is_free(port):
            return port
    raise BrokerError("none of 200 ports between 20000 and 32000 is free; name one with --port")
