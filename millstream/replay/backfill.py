"""Backfill: predictions for past events, by one version or by the version that served each event.

The predictor's own code reads features, calls the model and writes the answer; only the version is given. The answers
go to a separate topic, with the same exactly-once transactions as a replay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from consumers.predictor.predictor import Predictor, PredictorSettings, ServedVersion
from millstream.replay.past_versions import PastVersions
from millstream.replay.served_versions import ServedIndex, ends_of, first_time, read_index
from millstream.stream.processor_rules import event_mapping
from model_store import VersionId
from runtime.kafka_client.records import Output, Partition, Record
from schemas.topics import Names

if TYPE_CHECKING:
    from millstream.replay.plan import Job
    from millstream.replay.replay import Replay
    from millstream.stream.stream import Stream
    from schemas.contract import Contract
    from schemas.preparing import Prepare
    from schemas.schema_registry import Registry
    from schemas.sources.event_mapping import EventMapping

HEADER: Final = "millstream-backfill"
AS_OF: Final = "as-of"

Choose: TypeAlias = Callable[[Record], VersionId | None]


class CannotBackfill(Exception):  # noqa: N818
    """The backfill would do harm or is impossible; nothing was written."""


@dataclass(frozen=True)
class Reader:
    """Settings for reading a stream's events; `mapping` is given for an external topic."""

    contract: Contract
    mapping: EventMapping | None
    prepare: Prepare | None = None

    @classmethod
    def of(cls, stream: Stream, registry: Registry | None) -> Reader:
        return cls(stream.contract, event_mapping(stream, registry), stream.prepare)


class _Given:
    """A `VersionSource` that serves the version it is given."""

    def __init__(self) -> None:
        self.served: ServedVersion | None = None

    def newest(self) -> ServedVersion | None:
        return self.served


class BackfillAnswers:
    """A `Work` that lets the predictor answer each record with the version that `choose` names.

    Attributes
    ----------
    unanswered
        Number of records without a version, for which nothing is written.
    """

    def __init__(self, reader: Reader, names: Names, job: Job, versions: PastVersions, choose: Choose) -> None:
        self._versions = versions
        self._choose = choose
        self._given = _Given()
        self._into = job.into
        into = Names(names.stream, names.prefix, {**names.elsewhere, "predictions": job.into})
        settings = PredictorSettings(
            into,
            reader.contract,
            job.partitions,
            mapping=reader.mapping,
            prepare=reader.prepare,
            tell_times=False,
        )
        self._predictor = Predictor(settings, self._given, say=lambda line: None)
        self._header = ((HEADER, job.key.encode()),)
        self.unanswered = 0

    def __call__(self, records: Sequence[Record]) -> list[Output]:
        by_version: dict[VersionId, list[Record]] = {}
        for record in records:
            version = self._choose(record)
            if version is None:
                self.unanswered += 1
            else:
                by_version.setdefault(version, []).append(record)
        if len(by_version) == 1:
            [(version, chosen)] = by_version.items()
            return self._answered(version, chosen)[1]
        # A partition's answers stay in its order, whatever versions give them.
        answers: dict[tuple[int, int], Output] = {}
        for version in sorted(by_version):
            places, outputs = self._answered(version, by_version[version])
            answers |= zip(places, outputs, strict=True)
        return [answers[place] for place in sorted(answers)]

    def _answered(self, version: VersionId, records: Sequence[Record]) -> tuple[list[tuple[int, int]], list[Output]]:
        """Return the positions (partition, offset) of these records, and a version's answers to them."""
        self._given.served = self._versions.get(version)
        batch: dict[Partition, list[Record]] = {}
        for record in records:
            batch.setdefault(Partition(record.topic, record.partition), []).append(record)
        places = [(each.partition, each.offset) for some in batch.values() for each in some]
        # The dead letters were written when the events came, so they are on their topic already.
        outputs = [
            Output(topic, partition, key, value, (*headers, *self._header) if headers else self._header, timestamp)
            for topic, partition, key, value, headers, timestamp in self._predictor.process(batch)
            if topic == self._into
        ]
        return places, outputs


def insist_on_own(names: Names, into: str) -> None:
    """Raise CannotBackfill if one of the stream's roles reads the topic."""
    if into in {*map(names.topic, names.kinds), *names.labels_from}:
        raise CannotBackfill(
            f"{into} is a topic of {names.stream}, whose roles would read the answers as events or predictions: "
            "name another with --into"
        )


def by_one(version: VersionId) -> Choose:
    """Choose one version for all events."""
    return lambda record: version


def as_of(
    names: Names,
    replay: Replay,
    otherwise: VersionId | None,
    versions: PastVersions,
    say: Callable[[str], None],
    progress: Callable[[int, int], None],
) -> Choose:
    """Choose the version that served each event when it came.

    The answers of the whole range are read even if an earlier run has written some of it: an error counts as given by
    the version that answered before it, and the remaining part may have no answers at all.

    Raises
    ------
    CannotBackfill
        If no event of the range was answered, as far as the prediction log goes back, or the log has answers to an
        older topic of the same name.
    CannotRemake
        If a version is gone and cannot be learned again.
    """
    job, (begin, end) = replay.job, replay.span
    index = ServedIndex(job.topic, begin, end)
    since = first_time(job.source, job.topic, begin, end) if job.source_stamps else 0
    topic = names.whole
    read_index(job.source, topic, index, since, progress)
    # No event after the topic's end can have been answered, because predictors read committed events.
    if index.beyond(ends_of(job.source, job.topic, len(job.end))):
        raise CannotBackfill(
            f"{topic} has answers to events that {job.topic} does not have: it was created again, and answers to the "
            "old one cannot be distinguished; name one version with --model"
        )
    index.settle(otherwise)
    wanted = index.versions(replay.next)
    if replay.left and not replay.before and not index.answers:
        raise CannotBackfill(
            f"{topic} has no answer to any event of the range: nothing served them, or retention has taken it; "
            "name one version with --model"
        )
    gone = versions.gone(wanted)
    learned = f", {len(gone):,} of them gone from the store and learned again from the log" if gone else ""
    if replay.left:
        say(f"{index.answers:,} events were answered by {len(wanted):,} versions{learned}")
    return lambda record: index.version(record.partition, record.offset)
