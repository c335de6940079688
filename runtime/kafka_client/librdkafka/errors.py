"""Translation of librdkafka's errors to `runtime.kafka_client.errors`.

Codes above zero are the protocol's own, so they get the class and the name that kafka-python gives them, by which users
search. Codes below zero are the client's: one table.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Final, ParamSpec, TypeVar

from confluent_kafka import KafkaError as TheirError
from confluent_kafka import KafkaException

from runtime.kafka_client import errors as ours
from runtime.kafka_client.kafka_python.errors import of_code

_Given = ParamSpec("_Given")
_Returned = TypeVar("_Returned")

_TABLE: Final[dict[int, type[ours.KafkaError]]] = {
    TheirError._TIMED_OUT: ours.KafkaTimeoutError,
    TheirError._TIMED_OUT_QUEUE: ours.KafkaTimeoutError,
    TheirError._MSG_TIMED_OUT: ours.KafkaTimeoutError,
    TheirError._AUTHENTICATION: ours.AuthenticationError,
    TheirError._NO_OFFSET: ours.NoOffsetError,
    TheirError._LOG_TRUNCATION: ours.LogTruncatedError,
    # Fatal: a newer producer has the transactional id. The client does not say which of the broker's codes it was.
    TheirError._FENCED: ours.FencedError,
    TheirError._BAD_MSG: ours.KafkaError,
}
_TRUNCATED: Final = "truncat"
_NO_SPLIT: Final = (
    "librdkafka does not divide a batch that is larger than the topic's max.message.bytes: "
    "set MILLSTREAM_KAFKA_BATCH_SIZE to less"
)
_PASSING: Final = frozenset({TheirError._TIMED_OUT, TheirError._TRANSPORT, TheirError._ALL_BROKERS_DOWN})


def translated(error: TheirError) -> ours.KafkaError:
    """Return the translation of an error, with that error as its cause; the text is the client's."""
    found = _translated(error)
    found.__cause__ = KafkaException(error)
    return found


def _translated(error: TheirError) -> ours.KafkaError:
    code, text = error.code(), error.str()
    if code == TheirError._AUTO_OFFSET_RESET:
        # The client reports a lost offset as a reset that is not allowed; only the text has the cause.
        lost = ours.LogTruncatedError if _TRUNCATED in text.lower() else ours.OffsetOutOfRangeError
        return lost(text, name=lost.__name__, from_broker=True)
    if code == TheirError.MSG_SIZE_TOO_LARGE:
        text = f"{text}. {_NO_SPLIT}"
    if code > 0 and (found := of_code(code, text)) is not None:
        return found
    kind = _TABLE.get(code, ours.KafkaError)
    name = "ProducerFencedError" if kind is ours.FencedError else kind.__name__  # as kafka-python calls it
    return kind(text, name=name, retriable=error.retriable() or code in _PASSING)


def of_exception(error: KafkaException) -> ours.KafkaError:
    """Return the translation of an exception of the client."""
    return translated(error.args[0])


def translating(call: Callable[_Given, _Returned]) -> Callable[_Given, _Returned]:
    """Decorate a function that calls the client, so that it raises translated errors."""

    @wraps(call)
    def wrapper(*args: _Given.args, **kwargs: _Given.kwargs) -> _Returned:
        try:
            return call(*args, **kwargs)
        except KafkaException as error:
            raise of_exception(error) from error

    return wrapper
