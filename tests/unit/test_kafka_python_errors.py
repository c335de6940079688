"""kafka-python's errors as ours: by class, with their names and texts."""

from __future__ import annotations

import pytest
from kafka import errors as theirs

from runtime.kafka_client import errors as ours
from runtime.kafka_client.kafka_python.errors import of_code, translated, translating


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (theirs.KafkaTimeoutError("5 s"), ours.KafkaTimeoutError),
        (theirs.TopicAuthorizationFailedError("t"), ours.NotAuthorizedError),
        (theirs.TransactionalIdAuthorizationFailedError(), ours.NotAuthorizedError),
        (theirs.SaslAuthenticationFailedError(), ours.AuthenticationError),
        (theirs.PolicyViolationError(), ours.RefusedError),
        (theirs.IncompatibleBrokerVersion(), ours.RefusedError),
        (theirs.LogTruncationError({}), ours.LogTruncatedError),
        (theirs.FencedInstanceIdError(), ours.FencedError),
        (theirs.NotCoordinatorError(), ours.CoordinatorNotAvailableError),
        (theirs.NotLeaderForPartitionError(), ours.KafkaError),
        (theirs.IllegalStateError(), ours.KafkaError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_is_that_of_the_nearest_class_and_keeps_name_and_text(
    error: theirs.KafkaError, kind: type[ours.KafkaError]
) -> None:
    found = translated(error)
    assert type(found) is kind
    assert ours.described(found) == f"{type(error).__name__}: {error}"
    assert found.__cause__ is error
    assert found.retriable == error.retriable
    assert found.from_broker == isinstance(error, theirs.BrokerResponseError)


def test_what_is_none_of_the_clients_stays_as_it_is() -> None:
    error = ValueError("partition")
    assert translated(error) is error


def test_a_code_has_the_brokers_words_or_the_protocols() -> None:
    assert of_code(0) is None
    said, unsaid, unknown = of_code(38, "three brokers are fenced"), of_code(36), of_code(30_000)
    assert isinstance(said, ours.InvalidReplicationFactorError)
    assert str(said) == "three brokers are fenced"
    assert isinstance(unsaid, ours.TopicExistsError)
    assert str(unsaid) == theirs.TopicAlreadyExistsError.description
    assert type(unknown) is ours.KafkaError
    assert unknown.name == "UnrecognizedBrokerError"


def test_what_calls_the_client_raises_ours() -> None:
    @translating
    def poll(timeout_ms: int) -> int:
        if timeout_ms:
            return timeout_ms
        raise theirs.OffsetOutOfRangeError({})

    assert poll(timeout_ms=1) == 1
    with pytest.raises(ours.OffsetOutOfRangeError) as raised:
        poll(0)
    assert isinstance(raised.value.__cause__, theirs.OffsetOutOfRangeError)
