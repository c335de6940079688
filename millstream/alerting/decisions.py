"""Decisions of people about alerts: acknowledgements and silences, as records on the alerts topic.

The command line and the console decide by this function.
"""

from __future__ import annotations

import difflib
import re
import time
from contextlib import closing
from typing import TYPE_CHECKING, Final

from millstream.alerting.open_alerts import read_states
from millstream.versions.decisions import NotDecided
from runtime.kafka_client.errors import KafkaError, described
from runtime.kafka_client.records import Output
from schemas.alerts import AlertNote

if TYPE_CHECKING:
    from runtime.kafka_client.cluster import Cluster
    from schemas.alerts import AlertDecision
    from schemas.topics import Names

LONGEST_SILENCE_MS: Final = 366 * 86_400_000
_ACKNOWLEDGED_S: Final = 15.0
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class NoSuchAlert(Exception):  # noqa: N818
    """The decision is about an alert that is not raised, or a silence that there is not."""


class InvalidAlertName(ValueError):  # noqa: N818
    """No alert can have this name."""


class InvalidSilence(ValueError):  # noqa: N818
    """An alert is not silenced for so long."""


def decide_alert(
    cluster: Cluster, names: Names, decision: AlertDecision, name: str, *, by: str, why: str, for_ms: int | None = None
) -> AlertNote:
    """Acknowledge a raised alert, silence an alert for a time, or end its silence; return the record.

    Raises
    ------
    NoSuchAlert
        If there is nothing to acknowledge, or no silence to end; nothing was decided.
    InvalidAlertName
        If no alert can have this name.
    InvalidSilence
        If the time is longer than a silence may be, or there is none.
    NotDecided
        If the cluster has not acknowledged the decision.
    """
    check_name(name)
    if decision == "silence" and not 0 < (for_ms or 0) <= LONGEST_SILENCE_MS:
        raise InvalidSilence("a silence has an end: at most 366d from now")
    states, now = read_states(cluster, names), time.time_ns() // 1_000_000
    if decision == "ack" and name not in states.raised:
        raise NoSuchAlert(f"no alert {name} is raised; {_known(name, [*states.raised], 'raised')}")
    if decision == "unsilence" and states.silenced(name, now) is None:
        silenced = [each for each in states.silences if states.silenced(each, now) is not None]
        raise NoSuchAlert(f"{name} is not silenced; {_known(name, silenced, 'silenced')}")
    note = AlertNote(name, decision, by, why, now, now + (for_ms or 0) if decision == "silence" else None)
    topic = names.topic("alerts")
    limits = {"request_timeout_ms": 5_000, "delivery_timeout_ms": int(_ACKNOWLEDGED_S * 1000)}
    with closing(cluster.producer(acks="all", **limits)) as producer:
        try:
            producer.send_for_offsets([Output(topic, 0, name.encode(), note.encode())], _ACKNOWLEDGED_S)
        except KafkaError as error:
            raise NotDecided(
                f"{topic} did not accept the decision ({described(error)}): run the command again"
            ) from error
    return note


def check_name(name: str) -> None:
    """Raise InvalidAlertName if no alert can have this name."""
    if not _NAME.fullmatch(name):
        raise InvalidAlertName(f"{name[:100]!r} is no alert's name: 1 to 64 of A-Z, a-z, 0-9, '_', '.' and '-'")


def _known(name: str, names: list[str], state: str) -> str:
    if not names:
        return f"none is {state}"
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]}?" if near else f"{state}: {', '.join(names[:10])}"
