"""Wiring of the forwarder: a process of its own, or a thread of a server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from consumers.roles import FORWARDER
from millstream.observability.instrumentation import RoleInstrumentation
from millstream.observability.role_log import say
from millstream.processes import gc_tuning, role_events
from runtime.exits import OK, TRY_AGAIN, Doubt, RoleFailure
from runtime.kafka_client.cluster import Cluster, MissingTopic, NoBroker, TopicInfo
from runtime.kafka_client.errors import KafkaError, described
from runtime.stop_signals import stop_on_signals
from schemas.topics import METRICS, Names
from server.forwarder.forwarder import FLUSH_S, Forwarder, ForwarderSettings
from server.spool.folder import SPOOL

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.stream.load import LoadedStream

_WAIT_S: Final = 60.0
_COMMIT_S: Final = 10.0


def spool_path(settings: Settings, names: Names) -> Path:
    """Return the folder of a stream's spool on this machine."""
    return settings.state(names) / SPOOL


class ForwardingThread:
    """A forwarder in a thread of this process.

    Parameters
    ----------
    say
        Prints one line. Called in the thread.
    """

    def __init__(self, cluster: Cluster, settings: ForwarderSettings, say: Callable[[str], None]) -> None:
        self.failure: RoleFailure | None = None
        """Why it has ended; this process must end too, and start again."""
        self._forwarder = Forwarder(cluster, settings, say)
        self._thread = threading.Thread(target=self._run, name="forward", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._forwarder.open()
            self._forwarder.run()
        except RoleFailure as failure:
            self.failure = failure
        except KafkaError as error:
            self.failure = Doubt(f"Kafka: {described(error)}")
        except OSError as error:
            self.failure = Doubt(f"the disk of the spool fails: {error}")
        finally:
            self._forwarder.close()

    def close(self) -> None:
        """Forward what is in the spool, and end."""
        self._forwarder.stop.set()
        self._thread.join(FLUSH_S + _COMMIT_S)


def require_topics(cluster: Cluster, names: Names, loaded: LoadedStream) -> dict[str, TopicInfo]:
    """Return the topics that server and forwarder need. Raises MissingTopic if one does not exist."""
    wanted = [names.topic("predictions"), names.whole, names.topic("labels"), names.topic("models")]
    wanted += [names.topic(METRICS)] if names.takes_metrics else []
    found = cluster.topic_info(*wanted)
    missing = [topic for topic in wanted if topic not in found]
    if missing:
        raise MissingTopic(
            f"topic {missing[0]} does not exist on {cluster.bootstrap}: "
            f"`millstream topics create {loaded.path}` makes it"
        )
    return found


def run_forwarder(loaded: LoadedStream, settings: Settings, instance: str, meter: RoleInstrumentation) -> int:
    """Forward the spool until told to stop; return the exit code."""
    names = settings.names(loaded.stream)
    cluster = cluster_of(settings)
    require_topics(cluster, names, loaded)
    wait_ms = loaded.stream.labels.wait_ms
    forwarding = ForwarderSettings(names, instance, spool_path(settings, names), old_ms=wait_ms // 2)
    forwarder: Forwarder | None = None
    try:
        forwarder = Forwarder(cluster, forwarding, say, meter)
        with stop_on_signals(forwarder.stop):
            before = forwarder.open()
            on_kafka = f"{before} entries are on Kafka, {forwarder.waiting()} wait"
            role_events.ready(f"ready: forwards {forwarding.spool}; {on_kafka}", event="assigned")
            meter.assigned(())
            gc_tuning.rest()
            forwarder.run()
        if left := forwarder.waiting():
            say(f"{left} answers and labels stay in the spool; the next forwarder puts them onto Kafka")
    except RoleFailure as failure:
        meter.aborted()
        role_events.failed(FORWARDER, str(failure))
        return failure.exit_code
    except OSError as error:
        role_events.failed(FORWARDER, f"the disk of the spool fails: {error}")
        return TRY_AGAIN
    except KafkaError as error:
        role_events.failed(FORWARDER, f"Kafka: {described(error)}")
        return TRY_AGAIN
    finally:
        if forwarder is not None:
            forwarder.close()
    say(f"{FORWARDER} has ended in order")
    return OK


def cluster_of(settings: Settings) -> Cluster:
    """Return the cluster, once it answers. Raises NoBroker if it does not within a minute."""
    until = time.monotonic() + _WAIT_S
    while True:
        try:
            cluster = settings.cluster()
            cluster.require(max(0.0, until - time.monotonic()))
            return cluster
        except NoBroker:
            if time.monotonic() >= until:
                raise
            time.sleep(0.2)
