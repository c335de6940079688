"""What a Kafka client raises: a root, and those errors that callers tell apart.

Each keeps the name and the text that the client library or the protocol has for it.
"""

from __future__ import annotations


class KafkaError(Exception):
    """Kafka, or the client, could not do what was asked; the base of all that a client raises.

    Attributes
    ----------
    name
        The error's name in the client library or the protocol, which people look for.
    retriable
        Asking again may work.
    from_broker
        A broker has answered with it; else the client has given up by itself.
    """

    def __init__(self, text: str = "", *, name: str = "", retriable: bool = False, from_broker: bool = False) -> None:
        super().__init__(text)
        self.name = name or type(self).__name__
        self.retriable = retriable
        self.from_broker = from_broker


class KafkaTimeoutError(KafkaError):
    """The client has waited for as long as it may."""


class RefusedError(KafkaError):
    """The broker refuses, and will refuse the same again: too large a record, an invalid topic, a policy."""


class NotAuthorizedError(RefusedError):
    """The user has no right to do this with the topic, group, cluster or transactional id."""


class AuthenticationError(RefusedError):
    """The broker does not believe who the user is."""


class NoOffsetError(KafkaError):
    """The group has committed no offset in a partition, and none may be chosen for it."""


class OffsetOutOfRangeError(KafkaError):
    """The offset to read is not in the log: retention has taken it, or the log is another."""


class LogTruncatedError(KafkaError):
    """The log has lost records that were read already."""


class UnknownGroupError(KafkaError):
    """There is no such group."""


class UnknownMemberError(KafkaError):
    """The group has no such member."""


class FencedError(KafkaError):
    """A newer process has the same transactional id or group instance id."""


class CoordinatorNotAvailableError(KafkaError):
    """The group's coordinator is not there yet, or has moved; asking again finds it."""


class TopicExistsError(KafkaError):
    """There is a topic of this name."""


class InvalidReplicationFactorError(KafkaError):
    """There are not as many brokers as copies are asked for."""


def error_name(error: BaseException) -> str:
    """Return what an error is called: one of Kafka's by its own name.

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
