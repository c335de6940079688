"""Millstream: an online learner on an event stream.

A stream file holds one `Stream`. `Feature` restricts the values of a feature; `Source` names an external topic to read.
Optional parameters are in groups: `Labels`, `Validation`, `Evaluation`, `Checkpoints` (which has `Retention`),
`Predictions` and `Join`; `Calendar` adds features from an event's time.

Several `Model`s of a stream compete; `Promote`, `Guard` and `Cost` make the rule by which one is promoted. A
`BatchModel` is trained on the log by jobs.

`Watch` says what is usual; a `Rule` raises an alert, and may `Notify`, `Pause`, `Rollback` or `Retrain`; `Webhook` and
`Alertmanager` are the targets of alerts.

In a notebook, `examples`, `predictions`, `dead_letters` and `alerts` read the results, `model` loads a version, and
`evaluate` measures stream files.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from millstream.cli.evaluate import evaluate
    from millstream.cli.python_api import Rows, StoredModel, alerts, dead_letters, examples, model, predictions
    from millstream.reading.typed_rows import AlertRow, DeadLetterRow, ExampleRow, PredictionRow
    from millstream.stream.alert_rules import Notify, Pause, Retrain, Rollback, Rule
    from millstream.stream.batch import BatchModel
    from millstream.stream.calendar import Calendar
    from millstream.stream.competition import Cost, Guard, Model, Promote
    from millstream.stream.errors import InvalidStream
    from millstream.stream.notify import Alertmanager, Webhook
    from millstream.stream.parameter_groups import Checkpoints, Evaluation, Join, Labels, Predictions, Validation
    from millstream.stream.stream import Stream
    from millstream.stream.watching import Watch
    from model_store.retention import Retention
    from schemas.contract import Feature
    from schemas.sources.source import Constant, Source

__all__ = [
    "AlertRow",
    "Alertmanager",
    "BatchModel",
    "Calendar",
    "Checkpoints",
    "Constant",
    "Cost",
    "DeadLetterRow",
    "Evaluation",
    "ExampleRow",
    "Feature",
    "Guard",
    "InvalidStream",
    "Join",
    "Labels",
    "Model",
    "Notify",
    "Pause",
    "PredictionRow",
    "Predictions",
    "Promote",
    "Retention",
    "Retrain",
    "Rollback",
    "Rows",
    "Rule",
    "Source",
    "StoredModel",
    "Stream",
    "Validation",
    "Watch",
    "Webhook",
    "alerts",
    "dead_letters",
    "evaluate",
    "examples",
    "model",
    "predictions",
]

_API: Final = "millstream.cli.python_api"
_ALERT_RULES: Final = "millstream.stream.alert_rules"
_COMPETITION: Final = "millstream.stream.competition"
_GROUPS: Final = "millstream.stream.parameter_groups"
_NOTIFY: Final = "millstream.stream.notify"
_ROWS: Final = "millstream.reading.typed_rows"
_HOMES: Final = {
    "AlertRow": _ROWS,
    "Alertmanager": _NOTIFY,
    "BatchModel": "millstream.stream.batch",
    "Calendar": "millstream.stream.calendar",
    "Checkpoints": _GROUPS,
    "Constant": "schemas.sources.source",
    "Cost": _COMPETITION,
    "DeadLetterRow": _ROWS,
    "Evaluation": _GROUPS,
    "ExampleRow": _ROWS,
    "Feature": "schemas.contract",
    "Guard": _COMPETITION,
    "InvalidStream": "millstream.stream.errors",
    "Join": _GROUPS,
    "Labels": _GROUPS,
    "Model": _COMPETITION,
    "Notify": _ALERT_RULES,
    "Pause": _ALERT_RULES,
    "PredictionRow": _ROWS,
    "Predictions": _GROUPS,
    "Promote": _COMPETITION,
    "Retention": "model_store.retention",
    "Retrain": _ALERT_RULES,
    "Rollback": _ALERT_RULES,
    "Rows": _API,
    "Rule": _ALERT_RULES,
    "Source": "schemas.sources.source",
    "StoredModel": _API,
    "Stream": "millstream.stream.stream",
    "Validation": _GROUPS,
    "Watch": "millstream.stream.watching",
    "Webhook": _NOTIFY,
    "alerts": _API,
    "dead_letters": _API,
    "evaluate": "millstream.cli.evaluate",
    "examples": _API,
    "model": _API,
    "predictions": _API,
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: `millstream --help` needs none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module 'millstream' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the public names, also those that are not imported yet."""
    return sorted([*(name for name in globals() if name.startswith("__")), *__all__])
