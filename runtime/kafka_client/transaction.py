"""The one owner of a transactional producer.

kafka-python's commit can return although a record of the transaction is missing, can block for ever,
and can put records of a dead transaction into the next one. So: every future is looked at before the
commit, the whole transaction runs in a worker thread against a deadline shorter than the broker's,
and after any failure the producer is never used again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from runtime.deadline import Overdue, within
from runtime.exits import Doubt, Fenced, RoleFailure, RoleRefused
from runtime.failpoints import failpoint
from runtime.kafka_client import size_limits
from runtime.kafka_client.client import GroupMetadata
from runtime.kafka_client.cluster import ASK, Cluster
from runtime.kafka_client.errors import (
    AuthenticationError,
    FencedError,
    KafkaError,
    LogTruncatedError,
    NotAuthorizedError,
    OffsetOutOfRangeError,
    described,
)
from runtime.kafka_client.records import CommittedOffset, Output, Partition

_BEFORE_SEND = failpoint("transaction.send.before")
_AFTER_SEND = failpoint("transaction.send.after")
_BEFORE_OFFSETS = failpoint("transaction.offsets.before")
_AFTER_OFFSETS = failpoint("transaction.offsets.after")
_BEFORE_COMMIT = failpoint("transaction.commit.before")
_AFTER_COMMIT = failpoint("transaction.commit.after")


@dataclass(frozen=True)
class TransactionLimits:
    """Times in ms. Each must be shorter than the next, or a dead transaction outlives its guard."""

    request_ms: int = 5_000
    delivery_ms: int = 7_000
    deadline_ms: int = 8_000
    broker_ms: int = 10_000

    @property
    def open_ms(self) -> int:
        """What opening may take. Nothing is at stake yet, and a new broker first makes its own topics."""
        return 2 * self.broker_ms

    def __post_init__(self) -> None:
        if not self.request_ms < self.delivery_ms < self.deadline_ms < self.broker_ms:
            raise ValueError(f"each must be shorter than the next: {self}")


class Transactions:
    """Sends records and commits places, together or not at all.

    Parameters
    ----------
    transactional_id
        Also fences: a second process with the same id stops this one at its next commit.
    """

    def __init__(self, cluster: Cluster, transactional_id: str, limits: TransactionLimits | None = None) -> None:
        self._limits = limits or TransactionLimits()
        self._id = transactional_id
        self._producer = cluster.producer(
            transactional_id=transactional_id,
            transaction_timeout_ms=self._limits.broker_ms,
            request_timeout_ms=self._limits.request_ms,
            delivery_timeout_ms=self._limits.delivery_ms,
            max_block_ms=self._limits.open_ms,
            bootstrap_timeout_ms=self._limits.broker_ms,
            linger_ms=5,
            batch_size=1 << 17,
            max_request_size=size_limits.RECORD,
        )
        self._usable = True

    def open(self) -> None:
        """Fence whoever used this id before and abort what they left open."""
        self._within_deadline(self._producer.init_transactions, self._limits.open_ms)

    def commit(
        self, outputs: Sequence[Output], places: Mapping[Partition, CommittedOffset], group: GroupMetadata | None
    ) -> None:
        """Send `outputs` and commit `places` in one transaction.

        Raises
        ------
        Fenced
            Another process has this id.
        Doubt
            Anything else. The transaction may or may not have happened.
        """
        self._within_deadline(lambda: self._transact(outputs, places, group), self._limits.deadline_ms)

    def _transact(
        self, outputs: Sequence[Output], places: Mapping[Partition, CommittedOffset], group: GroupMetadata | None
    ) -> None:
        producer = self._producer
        producer.begin_transaction()
        _BEFORE_SEND()
        send = producer.send
        futures = [
            send(topic, value, key, headers, partition, timestamp)
            for topic, partition, key, value, headers, timestamp in outputs
        ]
        if futures:
            producer.flush(timeout=self._limits.delivery_ms / 1000)
        for future in futures:
            # A record can expire, and commit_transaction() would return as if nothing were missing.
            if not future.is_done or future.exception is not None:
                raise future.exception or KafkaError("a record was not acknowledged in time")
        _AFTER_SEND()
        if places:
            assert group is not None  # noqa: S101 - offsets are some group's
            _BEFORE_OFFSETS()
            producer.send_offsets_to_transaction(places, group)
            _AFTER_OFFSETS()
        _BEFORE_COMMIT()
        producer.commit_transaction()
        _AFTER_COMMIT()

    def _within_deadline(self, work: Callable[[], object], limit_ms: int) -> None:
        if not self._usable:
            raise Doubt("this producer has failed before and is not used again")
        try:
            within(limit_ms / 1000, work, "transaction")
        except Overdue as error:
            self._abandon()
            raise Doubt(f"no answer to a transaction of {self._id} within {limit_ms / 1000:g} s") from error
        except Exception as error:
            self._abandon()
            raise failure_of(error, "a transaction", self._id) from error

    def _abandon(self) -> None:
        """Forget the producer: nothing it still holds may ever reach a later transaction."""
        self._usable = False
        self._producer.abandon(self._limits.request_ms / 1000)

    def close(self) -> None:
        """Close in order where nothing has failed."""
        if self._usable:
            self._usable = False
            with contextlib.suppress(KafkaError):
                self._producer.close(timeout=2)


def failure_of(error: BaseException, what: str, instance: str) -> RoleFailure:
    """Return what an error means for the role: stop for good, another process, or start anew."""
    text = described(error)
    if isinstance(error, (OffsetOutOfRangeError, LogTruncatedError)):
        return RoleRefused(
            f"retention has overtaken this role, or a topic was truncated: {text}. "
            "Nothing was skipped; `millstream status` shows the lag"
        )
    if isinstance(error, (NotAuthorizedError, AuthenticationError)):
        return RoleRefused(f"Kafka does not allow {instance} {what}: {text}. {ASK}")
    if _is_fenced(error):
        return Fenced(f"another process works as {instance}: give this one its own --instance")
    return Doubt(f"{what} of {instance} failed: {text}")


def _is_fenced(error: BaseException | None) -> bool:
    """Being fenced often shows as a plain KafkaError: look through the causes and the text."""
    seen = 0
    while error is not None and seen < 10:
        if isinstance(error, FencedError):
            return True
        if any(name in str(error) for name in ("ProducerFenced", "InvalidProducerEpoch", "FencedInstanceId")):
            return True
        error = error.__cause__ or error.__context__
        seen += 1
    return False
