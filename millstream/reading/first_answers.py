"""Answers to the first published events, as `millstream publish` reports them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, Final

from consumers.roles import PREDICTOR
from millstream.reading.topic_readers import is_note, prediction_row
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.coordinator import describe_group
from runtime.kafka_client.errors import NotAuthorizedError
from runtime.kafka_client.records import Partition
from schemas.topics import Names

_POLL_MS: Final = 100


@dataclass(frozen=True, kw_only=True)
class FirstAnswers:
    """What became of the first events.

    Attributes
    ----------
    predictors
        Number of running predictors; without any, nobody answers. `None` if this user may not see them.
    events
        Number of events whose answers were waited for.
    answered, errors
        Number of predictions, and of errors in place of a prediction. `first_error` is the first one's reason.
    """

    predictors: int | None
    events: int
    answered: int = 0
    errors: int = 0
    first_error: str | None = None

    def text(self, waited_seconds: float) -> str:
        """Return a line for people."""
        if self.predictors is None:
            return "answers: this user has no right to see them; `millstream topics acls STREAM` lists the rights"
        if not self.predictors:
            return "answers: none yet, as no predictor runs; `millstream run` starts one"
        if not self.answered and not self.errors:
            return f"answers: none within {waited_seconds:g} s; `millstream status` shows how far the predictors are"
        all_ = self.events == self.answered + self.errors
        parts = [f"answers: of the first {self.events:,} events {self.answered:,} have a prediction"]
        if self.errors:
            parts.append(f"{self.errors:,} an error, the first: {self.first_error}")
        if not all_:
            missing = self.events - self.answered - self.errors
            parts.append(f"{missing:,} no answer within {waited_seconds:g} s")
        return ", ".join(parts)


class AnswersFromNow:
    """The end of the topic of predictions now, from which answers to later events are read.

    A topic that is missing has no end; publishing says that it is missing.
    """

    def __init__(self, cluster: Cluster, names: Names) -> None:
        self._cluster, self._names = cluster, names
        self._ends: dict[Partition, int] = {}
        with (
            closing(cluster.consumer()) as consumer,
            suppress(NotAuthorizedError),
        ):
            numbers = consumer.partitions_for_topic(names.whole) if names.whole in consumer.topics() else ()
            self._ends = consumer.end_offsets([Partition(names.whole, number) for number in sorted(numbers)])

    def to(self, event_ids: Iterable[str], seconds: float) -> FirstAnswers:
        """Wait for the answers to some events, at most `seconds`, and not at all if no predictor runs."""
        missing = set(event_ids)
        events = len(missing)
        try:
            with self._cluster.admin() as admin:
                predictors = len(describe_group(admin, self._names.group(PREDICTOR)).members)
        except NotAuthorizedError:
            return FirstAnswers(predictors=None, events=events)
        if not predictors or not self._ends:
            return FirstAnswers(predictors=predictors, events=events)
        errors: list[str] = []
        answered = 0
        for row in self._rows(missing, seconds):
            missing.discard(row["event_id"])
            error = row.get("error")
            if error:
                errors.append(f"{error['code']}: {error['message']}")
            else:
                answered += 1
        first = errors[0] if errors else None
        return FirstAnswers(
            predictors=predictors, events=events, answered=answered, errors=len(errors), first_error=first
        )

    def _rows(self, missing: set[str], seconds: float) -> Iterator[dict[str, Any]]:
        """Yield the rows of answers to events that are still missing; the caller removes them."""
        deadline = time.monotonic() + seconds
        with closing(self._cluster.consumer()) as consumer:
            consumer.assign(list(self._ends))
            for partition, end in self._ends.items():
                consumer.seek(partition, end)
            while missing and time.monotonic() < deadline:
                for records in consumer.poll(timeout_ms=_POLL_MS).values():
                    for record in records:
                        row = {} if is_note(record) else prediction_row(record)
                        if row.get("event_id") in missing:
                            yield row
