"""Translation of kafka-python's errors to `runtime.kafka_client.errors`, by one table of classes."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Final, ParamSpec, TypeVar

from kafka import errors as theirs

from runtime.kafka_client import errors as ours

_Given = ParamSpec("_Given")
_Returned = TypeVar("_Returned")

_TABLE: Final[dict[type[theirs.KafkaError], type[ours.KafkaError]]] = {
    theirs.KafkaTimeoutError: ours.KafkaTimeoutError,
    theirs.AuthorizationError: ours.NotAuthorizedError,
    theirs.SaslAuthenticationFailedError: ours.AuthenticationError,
    theirs.InvalidRecordError: ours.RefusedError,
    theirs.InvalidTopicError: ours.RefusedError,
    theirs.MessageSizeTooLargeError: ours.RefusedError,
    theirs.PolicyViolationError: ours.RefusedError,
    theirs.RecordListTooLargeError: ours.RefusedError,
    theirs.UnsupportedVersionError: ours.RefusedError,
    theirs.NoOffsetForPartitionError: ours.NoOffsetError,
    theirs.OffsetOutOfRangeError: ours.OffsetOutOfRangeError,
    theirs.LogTruncationError: ours.LogTruncatedError,
    theirs.GroupIdNotFoundError: ours.UnknownGroupError,
    theirs.UnknownMemberIdError: ours.UnknownMemberError,
    theirs.ProducerFencedError: ours.FencedError,
    theirs.InvalidProducerEpochError: ours.FencedError,
    theirs.FencedInstanceIdError: ours.FencedError,
    theirs.CoordinatorNotAvailableError: ours.CoordinatorNotAvailableError,
    theirs.CoordinatorLoadInProgressError: ours.CoordinatorNotAvailableError,
    theirs.NotCoordinatorError: ours.CoordinatorNotAvailableError,
    theirs.TopicAlreadyExistsError: ours.TopicExistsError,
    theirs.InvalidReplicationFactorError: ours.InvalidReplicationFactorError,
}


def translated(error: BaseException) -> BaseException:
    """Return the translation of a client error, with that error as its cause; any other error unchanged."""
    if not isinstance(error, theirs.KafkaError):
        return error
    found = of_class(type(error), str(error))
    found.__cause__ = error
    return found


def of_class(kind: type[theirs.KafkaError], text: str) -> ours.KafkaError:
    """Return the translation of a client error class, by its nearest base class in the table."""
    found = next((_TABLE[each] for each in kind.__mro__ if each in _TABLE), ours.KafkaError)
    from_broker = issubclass(kind, theirs.BrokerResponseError)
    return found(text, name=kind.__name__, retriable=kind.retriable, from_broker=from_broker)


def of_code(code: int, text: str | None = None) -> ours.KafkaError | None:
    """Return the error for a protocol code, with the broker's text if it has one; `None` for code 0."""
    if code == 0:
        return None
    kind = theirs.for_code(code)
    return of_class(kind, text or kind.description or "")


def translating(call: Callable[_Given, _Returned]) -> Callable[_Given, _Returned]:
    """Decorate a function that calls the client, so that it raises translated errors."""

    @wraps(call)
    def wrapper(*args: _Given.args, **kwargs: _Given.kwargs) -> _Returned:
        try:
            return call(*args, **kwargs)
        except theirs.KafkaError as error:
            raise translated(error) from error

    return wrapper
