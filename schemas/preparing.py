"""Function of a stream that makes an event's features of those sent, before the contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from schemas.contract import Contract, ContractError
from schemas.events import Features

Prepare: TypeAlias = Callable[[Features], Features]


def of_event(contract: Contract, prepare: Prepare | None, features: Features, event_time: int) -> Features:
    """Return the features of an event as sent, prepared, with those of the calendar, for the model.

    >>> of_event(Contract(), lambda sent: {"length": len(sent["text"])}, {"text": "rain"}, 0)
    {'length': 4}

    Raises
    ------
    ContractError
        If the event must be refused; also if `prepare` raises, or returns something that is no feature.
    """
    if prepare is None:
        return contract.of_event(features, event_time)
    try:
        return contract.of_event(prepared(prepare, features), event_time)
    except _PrepareRaisedError as error:
        # The words of an exception may hold any value.
        text = str(error) if contract.private else f"{error}: {error.__cause__}"
        raise ContractError("prepare", text) from error.__cause__


class _PrepareRaisedError(ContractError):
    def __init__(self, error: BaseException) -> None:
        super().__init__("prepare", f"prepare raised {type(error).__name__}")


def prepared(prepare: Prepare, features: Features) -> Features:
    """Return what `prepare` makes of features. Arrays and numbers of numpy become lists and numbers.

    Raises
    ------
    ContractError
        If it raises, or returns something else than features by name.
    """
    try:
        found: Any = prepare(dict(features))
        if isinstance(found, dict) and all(isinstance(name, str) for name in found):
            return {name: _plain(value) for name, value in found.items()}
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # compiled parts may raise anything
        raise _PrepareRaisedError(error) from error
    raise ContractError("prepare", f"prepare returned a {type(found).__name__} instead of features by name")


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # an array, or a number of numpy
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [float(each) for each in value]
    if value is not None and not isinstance(value, (bool, int, float, str, bytes)):
        raise TypeError(f"its value is no feature: {type(value).__name__}")
    return value
