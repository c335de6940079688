"""Alerts for an operator: each is sent once when its cause begins and once when the cause has ended.

An alert is a record on `<stream>.alerts`, keyed by its name, in the transaction of the records that caused it, and a
line in the role's log; `millstream status` shows the alerts that have not cleared. All roles write to the one topic,
so a name begins with the role. If several processes of a role can see separate causes (one of a partition, say), the
name contains that too: ``learner.memory``, ``predictor.features-3.overtaken``.

The names of the raised alerts are in the metadata of the role's committed offsets, like the joiner's sequence number.
The transaction that raises an alert writes its name, so after a crash the name is there exactly if the alert is.
(Reading the topic instead would need another reader in every role, which would also see other processes' alerts.)
The broker accepts 4,096 characters of metadata, so at most `MOST` names are kept across a restart. Names are part of
the code, and each role has only a few.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Final, Literal

from runtime.kafka_client.records import Output
from schemas.alerts import Alert
from schemas.topics import Names

Severity = Literal["info", "warning", "critical"]
MOST: Final = 16
LONGEST_NAME: Final = 64


class Alerts:
    """Alerts that a processor has raised and not cleared. The processor sends the outputs that the methods return.

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

    def __iter__(self) -> Iterator[str]:
        return iter([*self._raised])

    def raise_(
        self, name: str, severity: Severity, message: str, at_ms: int, details: Mapping[str, str] | None = None
    ) -> list[Output]:
        """Return the alert to send; nothing if it is already raised.

        Parameters
        ----------
        message
            One line: the problem and its remedy.
        """
        assert 0 < len(name) <= LONGEST_NAME, name  # noqa: S101 - a mistake of the calling code, not of a user
        if name in self._raised:
            return []
        self._raised[name] = None
        self._say(f"alert {name} ({severity}): {message}")
        return [self._output(Alert(name, severity, "raised", message, at_ms, dict(details or {})))]

    def clear(self, name: str, at_ms: int) -> list[Output]:
        """Return the record that clears the alert; nothing if it was not raised."""
        if name not in self._raised:
            return []
        del self._raised[name]
        self._say(f"alert {name} has cleared")
        return [self._output(Alert(name, "info", "cleared", "it has cleared", at_ms, {}))]

    def _output(self, alert: Alert) -> Output:
        return Output(self._topic, 0, alert.name.encode(), alert.encode())

    # --- across a start ----------------------------------------------------------------------------

    def remembered(self, beginning: str = "") -> list[str]:
        """Return the names to write into the offset metadata: the first `MOST` that start with `beginning`."""
        return [name for name in self._raised if name.startswith(beginning)][:MOST]

    def restore(self, *remembered: object) -> None:
        """Restore the names from the offset metadata of every partition; ignore a value that is not a list."""
        self._raised = {}
        for names in remembered:
            if isinstance(names, list):
                self._raised.update((name, None) for name in names if isinstance(name, str))


def raised(alerts: Iterable[Alert]) -> Collection[Alert]:
    """Return the alerts of a topic that have not cleared, in the topic's order."""
    standing: dict[str, Alert] = {}
    for alert in alerts:
        if alert.state == "raised":
            standing[alert.name] = alert
        else:
            standing.pop(alert.name, None)
    return standing.values()
