"""Meaning of a client's error for a role: stop until corrected, fenced by another process, or restart."""

from __future__ import annotations

from runtime.exits import Doubt, Fenced, RoleFailure, RoleRefused
from runtime.kafka_client.cluster import ASK
from runtime.kafka_client.errors import (
    AuthenticationError,
    FencedError,
    LogTruncatedError,
    NotAuthorizedError,
    OffsetOutOfRangeError,
    described,
)


def failure_of(error: BaseException, what: str, instance: str) -> RoleFailure:
    """Return the failure of the role: `RoleRefused` (stop), `Fenced` (another process) or `Doubt` (restart)."""
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
    """Return whether the causes or the text mean fencing, which often shows as a plain KafkaError."""
    seen = 0
    while error is not None and seen < 10:
        if isinstance(error, FencedError):
            return True
        text = described(error)
        if any(name in text for name in ("ProducerFenced", "InvalidProducerEpoch", "FencedInstanceId")):
            return True
        error = error.__cause__ or error.__context__
        seen += 1
    return False


def cause_of(failure: RoleFailure) -> BaseException:
    """Return the client's error, or `Overdue`, for a caller that has its own errors and messages."""
    return failure.__cause__ or failure
