"""One client object of librdkafka: its log, reports and first answer, and the guard against forks."""

from __future__ import annotations

import base64
import logging
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

from confluent_kafka import KafkaError as TheirError
from confluent_kafka import KafkaException

from runtime.kafka_client.errors import KafkaTimeoutError
from runtime.kafka_client.librdkafka.errors import translated
from runtime.kafka_client.librdkafka.forks import MadeHere

_FIRST_LOOK_SECONDS: Final = 0.2  # most brokers answer sooner, and the metadata of all topics may be large
_LOOK_SECONDS: Final = 0.5
_REPEAT_SECONDS: Final = 10.0
_MOST_LINES: Final = 100
# What the client cannot repair by itself. It reports lost connections and brokers, too, and connects again.
_FINAL: Final = frozenset({TheirError._AUTHENTICATION, TheirError._FATAL, TheirError._FENCED})
_LOST: Final = frozenset({TheirError._ALL_BROKERS_DOWN, TheirError._RESOLVE, TheirError._TRANSPORT})


_NEW_ID: Final = re.compile(r"Topic (\S+) changed id from \S+ to (\S+)$")


class _Log:
    """The client's logger, which repeats no line within ten seconds: the client writes one for each attempt.

    Its debug lines are not written. They have the only news of the ids of topics, which go to `topic_ids`.
    """

    def __init__(self, logger: logging.Logger, topic_ids: dict[str, str]) -> None:
        self._logger = logger
        self._topic_ids = topic_ids
        self._written: dict[str, float] = {}

    def log(self, level: int, form: str, *values: object) -> None:
        """Write a line, unless it was written a moment ago."""
        line, now = form % values, time.monotonic()
        if level <= logging.DEBUG:
            if (found := _NEW_ID.search(line)) is not None:
                self._topic_ids[found[1]] = str(UUID(bytes=base64.b64decode(f"{found[2]}==")))
            return
        if now - self._written.get(line, -_REPEAT_SECONDS) < _REPEAT_SECONDS:
            return
        if len(self._written) >= _MOST_LINES:
            self._written.clear()
        self._written[line] = now
        self._logger.log(level, "%s", line)


class Handle:
    """A client, and what it has reported outside of a call.

    Without a function to report to, the client would return reports as records; without a logger, it would write to
    stderr.

    Attributes
    ----------
    losses
        Number of lost connections that `check` has seen reported.
    topic_ids
        Id of each topic that the client reads, if it gets the property ``debug=topic``; up to date with the records.
    """

    def __init__(self, make: Callable[..., Any], properties: Mapping[str, Any], logger: logging.Logger) -> None:
        self._made_here = MadeHere()
        self._logger = logger
        self._reports: deque[TheirError] = deque(maxlen=100)
        self.losses = 0
        self.topic_ids: dict[str, str] = {}
        # The functions are of these alone, so that the client does not keep its owner alive.
        self.client: Any = make({**properties, "error_cb": self._reports.append}, logger=_Log(logger, self.topic_ids))

    def check(self) -> None:
        """Raise the error that ends this client, if it has reported one; RuntimeError after a fork."""
        self._made_here.check()
        while self._reports:
            error = self._reports.popleft()
            if error.code() in _FINAL or error.fatal():
                raise translated(error)
            self.losses += error.code() in _LOST
            self._logger.info("%s", error.str())

    def require_answer(self, seconds: float) -> None:
        """Wait for a broker's first answer. Raises KafkaError if there is none in time, or the user is rejected."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            # The first answer has the cluster's id. A topic is not asked for: until one exists, and for ever if the
            # user may not see it, the client would ask for it at each retry, 500 times a second in a producer.
            with suppress(KafkaException):
                self.client.cluster_id(min(left, _FIRST_LOOK_SECONDS))
                return
            # About a quarter of new clients connect only at librdkafka's next timer, up to a second later, unless they
            # are asked something.
            with suppress(KafkaException):
                self.client.list_topics(timeout=min(left, _LOOK_SECONDS))
                return
            self.client.poll(0)  # lets the client report
            self.check()
        raise KafkaTimeoutError(f"no broker has answered within {seconds:g} s")
