"""Transactional producers: of roles, imports, replays, backfills and restores.

A client's commit can return although a record of the transaction is missing, can block for ever, and can put records
of a failed transaction into the next one. So every record is acknowledged before the commit, each call runs in a worker
thread with a deadline shorter than the broker's, and after any failure the producer is never used again. The next
process settles an unknown outcome: opening the same transactional id ends the old transaction.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from runtime.deadline import Overdue, Worker
from runtime.exits import Doubt
from runtime.failpoints import failpoint
from runtime.kafka_client import size_limits
from runtime.kafka_client.client import GroupMetadata
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.errors import KafkaError
from runtime.kafka_client.failures import failure_of
from runtime.kafka_client.records import CommittedOffset, Output, Partition

_BEFORE_SEND = failpoint("transaction.send.before")
_AFTER_SEND = failpoint("transaction.send.after")
_BEFORE_OFFSETS = failpoint("transaction.offsets.before")
_AFTER_OFFSETS = failpoint("transaction.offsets.after")
_BEFORE_COMMIT = failpoint("transaction.commit.before")
_AFTER_COMMIT = failpoint("transaction.commit.after")

T = TypeVar("T")


@dataclass(frozen=True)
class TransactionLimits:
    """Time limits in ms. Each of the first four must be shorter than the next, so that an inner limit ends first.

    Attributes
    ----------
    request_ms, delivery_ms
        Time after which the client gives up a request, and a record.
    deadline_ms
        Limit of one call; opening has its own limit.
    broker_ms
        Time after which the broker aborts a transaction that is still open.
    open_ms
        Limit of opening: long, because a new broker first creates its internal topics.
    connect_ms
        Limit of a broker's first answer.
    close_ms
        Limit of an orderly end.
    """

    request_ms: int = 5_000
    delivery_ms: int = 7_000
    deadline_ms: int = 8_000
    broker_ms: int = 10_000
    open_ms: int = 20_000
    connect_ms: int = 10_000
    close_ms: int = 2_000

    def __post_init__(self) -> None:
        if not self.request_ms < self.delivery_ms < self.deadline_ms < self.broker_ms:
            raise ValueError(f"each must be shorter than the next: {self}")


class Transactions:
    """Sends records and commits offsets, together or not at all.

    `commit` alone is a whole transaction. One that spans calls starts with `begin` and ends with `commit` or `abort`.

    Parameters
    ----------
    transactional_id
        Also fences: a second process with the same id stops this one at its next commit.
    compression
        Name of the codec, such as `lz4`.

    Raises
    ------
    Fenced
        Another process has this id. Every call except `close` raises these errors.
    RoleRefused
        Kafka does not allow it.
    Doubt
        Any other failure. The transaction may or may not be committed.
    """

    def __init__(
        self,
        cluster: Cluster,
        transactional_id: str,
        limits: TransactionLimits | None = None,
        *,
        compression: str | None = None,
    ) -> None:
        self._limits = limits or TransactionLimits()
        self._id = transactional_id
        self._producer = cluster.producer(
            transactional_id=transactional_id,
            transaction_timeout_ms=self._limits.broker_ms,
            request_timeout_ms=self._limits.request_ms,
            delivery_timeout_ms=self._limits.delivery_ms,
            max_block_ms=self._limits.open_ms,
            bootstrap_timeout_ms=self._limits.connect_ms,
            linger_ms=5,
            batch_size=1 << 17,
            max_request_size=size_limits.RECORD,
            compression_type=compression,
        )
        self._worker = Worker("transaction")
        self._begun = False
        self._usable = True

    def open(self) -> None:
        """Fence earlier producers with this id and abort their open transaction."""
        self._within_deadline(self._producer.init_transactions, self._limits.open_ms)

    def begin(self) -> None:
        """Begin a transaction that spans several calls."""
        self._within_deadline(self._begin, self._limits.deadline_ms)

    def send(self, outputs: Sequence[Output]) -> list[int]:
        """Send `outputs` in the open transaction and return the offset of each, once all are acknowledged."""
        seconds = self._limits.delivery_ms / 1000
        return self._within_deadline(
            lambda: self._producer.send_for_offsets(outputs, seconds), self._limits.deadline_ms
        )

    def commit(
        self,
        outputs: Sequence[Output] = (),
        places: Mapping[Partition, CommittedOffset] | None = None,
        group: GroupMetadata | None = None,
    ) -> None:
        """Send `outputs` and commit `places` in the open transaction, or in a new one if none is open.

        Parameters
        ----------
        group
            The group of the committed offsets. A member's own metadata also fences that member.
        """
        self._within_deadline(lambda: self._transact(outputs, places or {}, group), self._limits.deadline_ms)

    def abort(self) -> None:
        """Abort the open transaction: no reader of committed records sees its records."""
        self._within_deadline(self._abort, self._limits.deadline_ms)

    def close(self) -> None:
        """Close in order if nothing has failed. An open transaction stays open; the next `open` aborts it."""
        if self._usable:
            self._usable = False
            with contextlib.suppress(KafkaError):
                self._producer.close(timeout=self._limits.close_ms / 1000)
        self._worker.close()

    def _begin(self) -> None:
        self._producer.begin_transaction()
        self._begun = True

    def _abort(self) -> None:
        self._producer.abort_transaction()
        self._begun = False

    def _transact(
        self, outputs: Sequence[Output], places: Mapping[Partition, CommittedOffset], group: GroupMetadata | None
    ) -> None:
        producer = self._producer
        if not self._begun:
            self._begin()
        # The offsets first: a member that the group has removed is refused before it has sent a record. And right after
        # a transaction the broker is often not ready for the next one, which librdkafka waits for only 1 ms here, but
        # 20 ms when a record is the first.
        if places:
            if group is None:
                raise ValueError("offsets are committed for a group: none is named")
            _BEFORE_OFFSETS()
            producer.send_offsets_to_transaction(places, group)
            _AFTER_OFFSETS()
        _BEFORE_SEND()
        if outputs:
            producer.send_all(outputs, self._limits.delivery_ms / 1000)
        _AFTER_SEND()
        _BEFORE_COMMIT()
        producer.commit_transaction()
        self._begun = False
        _AFTER_COMMIT()

    def _within_deadline(self, work: Callable[[], T], limit_ms: int) -> T:
        if not self._usable:
            raise Doubt("this producer has failed before and is not used again")
        try:
            return self._worker.within(limit_ms / 1000, work)
        except Overdue as error:
            self._abandon()
            raise Doubt(f"no answer to a transaction of {self._id} within {limit_ms / 1000:g} s") from error
        except Exception as error:
            self._abandon()
            raise failure_of(error, "a transaction", self._id) from error

    def _abandon(self) -> None:
        self._usable = False
        self._worker.close()
        self._producer.abandon(self._limits.request_ms / 1000)
