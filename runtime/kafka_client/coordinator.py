"""Wait for a group's coordinator, which a new cluster makes at the first request."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from runtime.kafka_client.client import Admin, GroupDescription
from runtime.kafka_client.errors import CoordinatorNotAvailableError

_SECONDS: Final = 15.0
_PAUSE_SECONDS: Final = 0.1
_Told = TypeVar("_Told")


def patiently(ask: Callable[[], _Told]) -> _Told:
    """Return what `ask` returns, and repeat it while its group has no coordinator, for up to 15 seconds.

    Raises
    ------
    CoordinatorNotAvailableError
        If there is none after that.
    """
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            return ask()
        except CoordinatorNotAvailableError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_PAUSE_SECONDS)


def describe_group(admin: Admin, group: str) -> GroupDescription:
    """Return a group as soon as it has a coordinator. Raises CoordinatorNotAvailableError as `patiently`."""

    def ask() -> GroupDescription:
        found = admin.describe_group(group)
        if isinstance(found.error, CoordinatorNotAvailableError):
            raise found.error
        return found

    return patiently(ask)
