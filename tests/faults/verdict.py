"""The oracle of the fault tests: nothing lost, nothing twice, in order, never back, every version made of the log."""

from __future__ import annotations

import struct
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

from kafka import TopicPartition
from raw_kafka import raw_consumer
from system.oracle import Stream, assert_versions_are_functions_of_the_log, read_all

from model_store import StoreError, open_store
from runtime.kafka_client.cluster import Cluster
from schemas.codec import TICK
from schemas.events import is_joinable, peek_event_id, read_example, read_prediction
from schemas.model_updates import Published, read_model_update

ROLES = ("predictor", "joiner", "learner")
_OTHERS_SECONDS = 150.0  # Kafka ends a transaction whose owner is gone after 60, and looks every 10


@dataclass
class Verdict:
    """What became of a stream. `errors`: answers without a prediction; `faults`: what else must not be, in words."""

    answered: int
    learned: int
    errors: int = 0
    lost: int = 0
    repeated: int = 0
    faults: list[str] = field(default_factory=list)

    def insist(self, errors: int | None = 0) -> None:
        """Fail unless it is without fault and so many events were answered with an error; `None`: however many."""
        assert (self.lost, self.repeated, self.faults) == (0, 0, []), str(self)
        assert errors in (None, self.errors), f"{self.errors} events were answered with an error"


def judge(stream: Stream) -> Verdict:
    """Look at everything that is on the topics and in the store, once all is read and learned."""
    names = stream.names
    asked = Counter((r.partition, r.offset) for r in read_all(stream.bootstrap, names.topic("features")))
    answers = list(_answers(stream))
    places = [place for *place, _ in answers]
    answered = Counter((source, offset) for _, source, offset in places)
    examples = Counter(
        read_example(r.value).event.event_id for r in read_all(stream.bootstrap, names.topic("examples"))
    )
    expected = due(stream)
    verdict = Verdict(len(places), examples.total(), sum(failed for *_, failed in answers))
    verdict.lost = (asked - answered).total() + len(expected - examples.keys())
    verdict.repeated = (answered - asked).total() + sum(count - 1 for count in examples.values())
    if unknown := examples.keys() - expected:
        verdict.faults.append(f"{len(unknown)} examples of events that have no label")
    verdict.faults += _out_of_order(places)
    verdict.faults += announcements_that_go_back(stream)
    verdict.faults += torn_versions(stream)
    for role in ROLES:
        verdict.faults += places_that_go_back(stream.bootstrap, names.group(role))
    newest = assert_versions_are_functions_of_the_log(stream)
    if newest.examples != len(expected):
        verdict.faults.append(f"the newest version has learned {newest.examples} of {len(expected)} examples")
    return verdict


def due(stream: Stream) -> set[str]:
    """Return the events that are to be learned: they have a label, and no error for an answer."""
    names = stream.names
    labels = (record.value for record in read_all(stream.bootstrap, names.topic("labels")))
    labelled = {peek_event_id(value) for value in labels if not value.startswith(TICK.header)}
    answers = (record.value for record in read_all(stream.bootstrap, names.topic("predictions")))
    return labelled - {peek_event_id(value) for value in answers if not is_joinable(value)}


def _answers(stream: Stream) -> Iterator[tuple[int, int, int, bool]]:
    """Yield for each prediction its partition, partition and offset of the event it answers, and if it is an error."""
    for record in read_all(stream.bootstrap, stream.names.topic("predictions")):
        outcome = read_prediction(record.value).outcome
        yield record.partition, outcome.source_partition, outcome.source_offset, outcome.status == "error"


def _out_of_order(places: list[list[int]]) -> list[str]:
    """Events of one partition are answered in their order."""
    last: dict[tuple[int, int], int] = {}
    found = []
    for partition, source, offset in places:
        if offset < last.get((partition, source), -1):
            found.append(f"event {offset} of partition {source} was answered after {last[partition, source]}")
        last[partition, source] = offset
    return found


def announcements_that_go_back(stream: Stream) -> list[str]:
    """The announced versions of the stream's own model never get older, and are in the store as they were announced."""
    store = open_store(stream.models, stream.home / "keys", sign=False)
    there = {(version.epoch, version.examples): version for version in store.versions(stream.names.stream)}
    found, last = [], (0, -1)
    for record in read_all(stream.bootstrap, stream.names.topic("models")):
        state = read_model_update(record.value).state if record.value else None
        if not isinstance(state, Published) or state.model != stream.names.stream:
            continue
        version = (state.epoch, state.examples)
        if version < last:
            found.append(f"version {version} was announced after {last}")
        last = version
        if version not in there or store.manifest_sha256(there[version]) != state.manifest_sha256:
            found.append(f"version {version} was announced and is not the one in the store")
    return found


def torn_versions(stream: Stream) -> list[str]:
    """Every version that can be seen has all its files, as its signed manifest says."""
    store = open_store(stream.models, stream.home / "keys", sign=False)
    found = []
    for version in store.versions(stream.names.stream):
        try:
            manifest = store.manifest(version)
            for file in manifest.files:
                store.read(manifest, file)
        except StoreError as error:
            found.append(f"version {version} is not whole: {error}")
    return found


def places_that_go_back(bootstrap: str, group: str) -> list[str]:
    """Every place that a group ever committed, as the broker wrote it down: none is before the one before it."""
    last: dict[tuple[str, int], int] = {}
    found = []
    for at, offset in committed_places(bootstrap, group):
        if offset < last.get(at, 0):
            found.append(f"{group} went back in {at[0]}[{at[1]}] from {last[at]} to {offset}")
        last[at] = offset
    return found if last else [f"{group} has committed nothing"]


def committed_places(bootstrap: str, group: str) -> Iterator[tuple[tuple[str, int], int]]:
    """Yield (topic, partition) and offset of each commit of a group that took effect, in their order."""
    for record in _offset_records(bootstrap, group):
        (version,) = struct.unpack_from(">h", record.key)
        if version > 1 or record.value is None:
            continue  # the group's members; a place that was forgotten
        name, at = _text(record.key, 2)
        topic, at = _text(record.key, at)
        if name == group:
            (partition,) = struct.unpack_from(">i", record.key, at)
            (offset,) = struct.unpack_from(">q", record.value, 2)
            yield (topic, partition), offset


def _offset_records(bootstrap: str, group: str) -> Iterator[object]:
    """Yield the records of the one partition of Kafka's own topic that has this group."""
    topic = "__consumer_offsets"
    with closing(raw_consumer(Cluster(bootstrap), group_id=None, exclude_internal_topics=False)) as consumer:
        count = len(consumer.partitions_for_topic(topic))
        partition = TopicPartition(topic, _java_hash(group) % count)
        # The end of a consumer of committed records is before the first transaction that is open, anybody's.
        with closing(raw_consumer(Cluster(bootstrap), isolation_level="read_uncommitted")) as any_consumer:
            end = any_consumer.end_offsets([partition])[partition]
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        deadline = time.monotonic() + _OTHERS_SECONDS
        while consumer.position(partition) < end:
            assert time.monotonic() < deadline, f"{topic} of {group} has a transaction that does not end"
            yield from consumer.poll(timeout_ms=500).get(partition, ())


def _text(data: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from(">h", data, at)
    return data[at + 2 : at + 2 + length].decode(), at + 2 + length


def _java_hash(text: str) -> int:
    """Return Java's hash of an ASCII string, without its sign, as Kafka chooses a group's partition by it."""
    value = 0
    for letter in text.encode("ascii"):
        value = (31 * value + letter) & 0xFFFFFFFF
    return value if value < 1 << 31 else (1 << 32) - value
