"""Alerts: what a person should know, said once when it begins and once when it has ended.

An alert is a record on `<stream>.alerts`, keyed by its name, in the transaction of whatever showed the cause, and a
line in the role's log; `millstream status` shows those that have not cleared. All roles write to the one topic, so a
name begins with its role, and where several processes of a role may see a cause apart (one partition's, say), it
names that too: ``learner.memory``, ``predictor.features-3.overtaken``.

What is raised rides in the metadata of the role's committed offsets, as the joiner's sequence does: written by the
transaction that raised it, it is there after a crash exactly if the alert is. (Read back from the topic, it would
be a second reader in every role, and of what other processes raised as well.) The broker takes 4,096 characters of
metadata, so no more than `MOST` names are remembered across a start; a name is part of the code, and roles have a
handful.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, Literal

from runtime.kafka_client.records import Output
from schemas.alerts import Alert
from schemas.topics import Names

Severity = Literal["info", "warning", "critical"]
MOST: Final = 16
LONGEST_NAME: Final = 64


class Alerts:
    """What a processor has raised and not cleared; the outputs that it returns are the processor's to send.

    Parameters
    ----------
    say
        Prints one line for the operator.

    Examples
    --------
    In a processor: `restore` in `assigned`, `remembered` in the metadata of `places`.

    >>> alerts = Alerts(Names("fraud"), print)
    >>> sent = alerts.raise_("learner.memory", "warning", "the model grows", 1_000, {"bytes": "7"})
    alert learner.memory (warning): the model grows
    >>> alerts.raise_("learner.memory", "warning", "the model grows", 2_000, {"bytes": "8"})
    []
    >>> alerts.remembered()
    ['learner.memory']
    >>> sent = alerts.clear("learner.memory", 3_000)
    alert learner.memory has cleared
    """

    def __init__(self, names: Names, say: Callable[[str], None]) -> None:
        self._topic = names.topic("alerts")
        self._say = say
        self._raised: dict[str, None] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._raised

    def raise_(
        self, name: str, severity: Severity, message: str, at_ms: int, details: Mapping[str, str] | None = None
    ) -> list[Output]:
        """Return the alert to send; nothing where it is raised already.

        Parameters
        ----------
        message
            One line: what is the matter, and the way out.
        """
        assert 0 < len(name) <= LONGEST_NAME, name  # noqa: S101 - a caller's slip, not a user's
        if name in self._raised:
            return []
        self._raised[name] = None
        self._say(f"alert {name} ({severity}): {message}")
        return [self._output(Alert(name, severity, "raised", message, at_ms, dict(details or {})))]

    def clear(self, name: str, at_ms: int) -> list[Output]:
        """Return what says that the cause has gone; nothing where it was not raised."""
        if name not in self._raised:
            return []
        del self._raised[name]
        self._say(f"alert {name} has cleared")
        return [self._output(Alert(name, "info", "cleared", "it has cleared", at_ms, {}))]

    def _output(self, alert: Alert) -> Output:
        return Output(self._topic, 0, alert.name.encode(), alert.encode())

    # --- across a start ----------------------------------------------------------------------------

    def remembered(self, beginning: str = "") -> list[str]:
        """Return the names to be written beside the offsets: the first `MOST` of those that begin so."""
        return [name for name in self._raised if name.startswith(beginning)][:MOST]

    def restore(self, *remembered: object) -> None:
        """Take over what was written beside the offsets, of every partition; what is no list of names is none."""
        self._raised = {}
        for names in remembered:
            if isinstance(names, list):
                self._raised.update((name, None) for name in names if isinstance(name, str))


def raised(alerts: Iterable[Alert]) -> Collection[Alert]:
    """Return the alerts of a topic, in its order, that have not cleared."""
    standing: dict[str, Alert] = {}
    for alert in alerts:
        if alert.state == "raised":
            standing[alert.name] = alert
        else:
            standing.pop(alert.name, None)
    return standing.values()
