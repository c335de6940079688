"""Shared wiring of the roles: meeting the cluster, following its models, and running the loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from consumers.joiner.joiner import Joiner, JoinerSettings
from consumers.joiner.local_store import DiskStore, LocalStoreError
from consumers.joiner.snapshot_thread import SnapshotKeeper
from consumers.joiner.snapshots import Snapshots
from consumers.loop.instrumentation import Meter
from consumers.loop.log_faults import LogRefused
from consumers.loop.loop import Loop, LoopSettings
from consumers.loop.processor import Processor
from consumers.loop.reading import POLL_MS
from consumers.loop.turns import MOST_RECORDS
from consumers.model.models_topic_state import Known
from consumers.predictor.model_feed import ModelsTopic
from consumers.roles import INTAKE, JOINER, JUDGE, MONITOR, PREDICTOR, SHADOW, model_of_role, named
from millstream.observability.role_log import say
from millstream.processes import gc_tuning, role_events
from millstream.processes.log_fault_alerts import LogAlerts
from millstream.processes.role_failure_alerts import StateAlerts
from model_store import StoreError, StoreUnavailable, open_backend
from runtime.exits import FAILED, OK, TRY_AGAIN, RoleFailure
from runtime.kafka_client.cluster import Cluster, MissingTopic, NoBroker, TopicInfo
from runtime.kafka_client.records import Partition
from runtime.stop_signals import call_on_signals
from schemas.schema_registry import RegistryError
from schemas.topics import NOT_OURS, PROFILES, Names

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.observability.instrumentation import RoleInstrumentation
    from millstream.stream.load import LoadedStream

_BROKER_WAIT_SECONDS: Final = 60.0
_CURRENT_WAIT_SECONDS: Final = 30.0
# Where records are not urgent, roles fetch in batches of 64 KB or 100 ms. A prediction is, so the predictor does not
# wait.
_FETCH_BYTES: Final = dict.fromkeys((INTAKE, JOINER, SHADOW, JUDGE), 1 << 16)
# Nobody waits for the roles beside the loop, and each of their transactions takes time from the broker that serves it.
_BESIDE_BYTES: Final = 1 << 16
_BESIDE_WAIT_MS: Final = 500
# While a role is behind, larger transactions cost less for each record; with these sizes most of that is reached. A
# learner commits seldom, so it keeps the usual turns.
_MOST_BEHIND: Final = {
    PREDICTOR: 5_000,
    INTAKE: 5_000,
    JOINER: 10_000,
    SHADOW: 5_000,
    JUDGE: 10_000,
    MONITOR: 10_000,
}


def meet(loaded: LoadedStream, settings: Settings, *needed: str) -> tuple[Cluster, Names, dict[str, TopicInfo]]:
    """Wait for the broker and check that the stream's topics exist. Raises MissingTopic if one does not.

    `needed` are kinds of topics that this role alone cannot do without: a stream that is older has none of them.
    """
    names = settings.names(loaded.stream)
    deadline = time.monotonic() + _BROKER_WAIT_SECONDS
    while True:
        try:
            cluster = settings.cluster()
            cluster.require(max(0.0, deadline - time.monotonic()))
            break
        except NoBroker:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.2)
    unused = {"jobs", PROFILES, *(() if names.models else ("decisions",))} - {*needed}
    wanted = [names.topic(kind) for kind in names.kinds if kind not in unused]
    found = cluster.topic_info(*wanted)
    missing = [topic for topic in wanted if topic not in found]
    if missing:
        way = f"`millstream topics create {loaded.path}` makes it"
        raise MissingTopic(
            f"topic {missing[0]} does not exist on {cluster.bootstrap}: "
            f"{NOT_OURS if missing[0] in names.elsewhere.values() else way}"
        )
    return cluster, names, found


def has_partitions(loaded: LoadedStream, topics: Mapping[str, TopicInfo], spread: int, *needed: str) -> bool:
    """Return whether each of these topics has the partitions that event ids are spread over; report it if not."""
    fewest = min(needed, key=lambda topic: topics[topic].partitions)
    if topics[fewest].partitions >= spread:
        return True
    say(
        f"{fewest} has {topics[fewest].partitions} partitions, and event ids of {loaded.stream.name} are spread over "
        f"{spread}: `millstream topics create {loaded.path} --fix` adds those that are missing"
    )
    return False


def state_alerts(cluster: Cluster, names: Names, role: str, instance: str) -> StateAlerts:
    """Return the alerts about the state of one of the role's processes."""
    return StateAlerts(LogAlerts(cluster, names, role, say), role, instance, say)


def _of_model(role: str) -> str:
    """Return what to add to advice about the learner of a named model, which is not the learner of the stream's own."""
    model = model_of_role(role)
    return f" (of {model}: `millstream learner FILE.py --model {model}`)" if model else ""


def _no_disk(role: str, error: LocalStoreError, kept: StateAlerts) -> int:
    """Report the failure of the local store; return the exit code: that of `Doubt` if its disk may be repaired."""
    role_events.failed(role, str(error))
    kept.unwritable(str(error))
    return TRY_AGAIN if error.passes else FAILED


def drive(
    cluster: Cluster,
    names: Names,
    role: str,
    instance: str,
    processor: Processor,
    meter: Meter | None = None,
    kept: StateAlerts | None = None,
    most_behind: int | None = None,
) -> int:
    """Run a role's loop until told to stop; return the exit code.

    `most_behind` is the most records in one transaction while the role is behind, at most the role's own limit.
    """
    most, beside = _MOST_BEHIND.get(role, MOST_RECORDS), named(role).beside
    settings = LoopSettings(
        group=names.group(role),
        instance=names.process(role, instance),
        most_behind=most if most_behind is None else min(most, most_behind),
        fetch_bytes=_FETCH_BYTES.get(role, _BESIDE_BYTES if beside else 1),
        fetch_wait_ms=_BESIDE_WAIT_MS if beside else POLL_MS,
    )
    alerts = LogAlerts(cluster, names, role, say)
    kept = kept or state_alerts(cluster, names, role, instance)

    def settled(partitions: Sequence[Partition]) -> None:
        told = [f"{topic}-{number}" for topic, number in partitions]
        line = f"ready: {len(partitions)} partitions of {', '.join(processor.topics)}"
        role_events.ready(line, event="assigned", partitions=told)
        # In a separate thread, because the loop must not wait for another client.
        threading.Thread(target=alerts.settled, args=(partitions,), name="log-alerts", daemon=True).start()
        kept.works_soon()

    loop = Loop(cluster, settings, processor, settled, meter)

    call_on_signals(loop.stop)
    gc_tuning.rest()
    try:
        loop.run()
    except RoleFailure as failure:
        role_events.failed(role, f"{failure}{_of_model(role)}")
        if isinstance(failure, LogRefused):
            alerts.refused(failure.faults)
        return failure.exit_code
    except LocalStoreError as error:
        return _no_disk(role, error, kept)
    except RegistryError as error:
        # A record that could not be decoded without the registry is not invalid: nothing of this turn is sent, and the
        # record is read again.
        role_events.failed(role, str(error))
        return error.exit_code
    except StoreUnavailable as error:
        said = f"{error}; the {role} restarts until it can write: free space there, or make it writable"
        role_events.failed(role, said)
        kept.unwritable(said)
        return TRY_AGAIN
    finally:
        kept.stop()
    say(f"{role} has ended in order")
    return OK


def drive_join(
    cluster: Cluster,
    loaded: LoadedStream,
    settings: Settings,
    instance: str,
    rules: JoinerSettings,
    meter: RoleInstrumentation | None,
    first_labels: Callable[[Partition], int | None] | None = None,
) -> int:
    """Run the join of `rules`, that of a joiner or a judge, until told to stop; return the exit code."""
    names, role = rules.names, rules.joins.role
    kept = state_alerts(cluster, names, role, instance)
    try:
        store = DiskStore(settings.state(names) / f"{role}-{instance}", say)
    except LocalStoreError as error:
        return _no_disk(role, error, kept)
    joiner = Joiner(rules, store, _snapshot_keeper(loaded, settings, role), say, meter, first_labels)
    # A turn is read before the join can pause a topic: so it is no more than a tenth of what may wait.
    return drive(cluster, names, role, instance, joiner, meter, kept, max(MOST_RECORDS, rules.max_pending // 10))


@contextmanager
def following(cluster: Cluster, names: Names, follow: Callable[[Known], None]) -> Iterator[bool]:
    """Follow the models topic inside this context; yield whether it could be read to its end."""
    follower = ModelsTopic(cluster, names.topic("models"), follow, say, role_events.cannot_follow)
    follower.start()
    try:
        current = follower.wait_until_current(_CURRENT_WAIT_SECONDS)
        if not current:
            say(f"{names.topic('models')} could not be read to its end; restarting")
        yield current
    finally:
        follower.close()


def _snapshot_keeper(loaded: LoadedStream, settings: Settings, role: str) -> SnapshotKeeper | None:
    """Return the thread that makes snapshots of a role's local store, `None` if it cannot; they are optional."""
    try:
        snapshots = Snapshots(open_backend(settings.models), loaded.stream.name, role)
    except StoreError as error:
        say(f"no snapshots of the local store: {error}")
        return None
    return SnapshotKeeper(snapshots, loaded.stream.join.snapshot_every_ms / 1000, say)
