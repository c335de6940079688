"""kafka-python's errors as those of `runtime/kafka_client/errors.py`: one table, by class."""

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
    """Return our error for one of the client's, which is its cause; any other error as it is."""
    if not isinstance(error, theirs.KafkaError):
        return error
    found = of_class(type(error), str(error))
    found.__cause__ = error
    return found


def of_class(kind: type[theirs.KafkaError], text: str) -> ours.KafkaError:
    """Return our error for a class of the client's: that of the nearest class above it that the table has."""
    found = next((_TABLE[each] for each in kind.__mro__ if each in _TABLE), ours.KafkaError)
    from_broker = issubclass(kind, theirs.BrokerResponseError)
    return found(text, name=kind.__name__, retriable=kind.retriable, from_broker=from_broker)


def of_code(code: int, text: str | None = None) -> ours.KafkaError | None:
    """Return our error for a code of the protocol with the broker's own text, where it has one; `None` for 0."""
    if code == 0:
        return None
    kind = theirs.for_code(code)
    return of_class(kind, text or kind.description or "")


def translating(call: Callable[_Given, _Returned]) -> Callable[_Given, _Returned]:
    """Decorate what calls the client, so that the client's errors leave it as ours."""

    @wraps(call)
    def wrapper(*args: _Given.args, **kwargs: _Given.kwargs) -> _Returned:
        try:
            return call(*args, **kwargs)
        except theirs.KafkaError as error:
            raise translated(error) from error

    return wrapper
