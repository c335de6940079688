"""Errors of a Kafka client: a base class, and the errors that callers distinguish.

Each keeps the name and the text of the client library or the protocol.
"""

from __future__ import annotations


class KafkaError(Exception):
    """Kafka or the client could not do what was asked; base class of all errors of a client.

    Attributes
    ----------
    name
        The error's name in the client library or the protocol, by which users search for it.
    retriable
        A second attempt may succeed.
    from_broker
        A broker answered with it; otherwise the client gave up by itself.
    """

    def __init__(self, text: str = "", *, name: str = "", retriable: bool = False, from_broker: bool = False) -> None:
        super().__init__(text)
        self.name = name or type(self).__name__
        self.retriable = retriable
        self.from_broker = from_broker


class KafkaTimeoutError(KafkaError):
    """The client has reached its time limit."""


class RefusedError(KafkaError):
    """The broker refuses, and a retry would be refused too: a record too large, an invalid topic, a policy."""


class NotAuthorizedError(RefusedError):
    """The user has no right to do this with the topic, group, cluster or transactional id."""


class AuthenticationError(RefusedError):
    """The broker rejects the user's credentials."""


class NoOffsetError(KafkaError):
    """The group has committed no offset in a partition, and there is no default to use."""


class OffsetOutOfRangeError(KafkaError):
    """The offset to read is not in the log: retention deleted it, or the topic is a different one."""


class LogTruncatedError(KafkaError):
    """The log has lost records that had been read."""


class UnknownGroupError(KafkaError):
    """There is no such group."""


class UnknownMemberError(KafkaError):
    """The group has no such member."""


class FencedError(KafkaError):
    """A newer process has the same transactional id or group instance id."""


class CoordinatorNotAvailableError(KafkaError):
    """The group's coordinator is not available yet, or has moved; a retry finds it."""


class TopicExistsError(KafkaError):
    """A topic of this name exists."""


class InvalidReplicationFactorError(KafkaError):
    """The cluster has fewer brokers than the requested number of replicas."""


def error_name(error: BaseException) -> str:
    """Return the name of an error; for an error of Kafka, Kafka's name.

    >>> error_name(RefusedError("too large", name="MessageSizeTooLargeError")), error_name(ValueError())
    ('MessageSizeTooLargeError', 'ValueError')
    """
    return error.name if isinstance(error, KafkaError) else type(error).__name__


def described(error: BaseException) -> str:
    """Return an error's name and text, for messages.

    >>> described(KafkaTimeoutError("nothing within 5 s"))
    'KafkaTimeoutError: nothing within 5 s'
    """
    return f"{error_name(error)}: {error}"
