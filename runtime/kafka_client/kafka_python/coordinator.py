"""Wait for the coordinator of a group."""

from __future__ import annotations

import time
from typing import Final

from runtime.kafka_client.client import Admin
from runtime.kafka_client.errors import CoordinatorNotAvailableError, KafkaError

_LOOK_SECONDS: Final = 0.05


def wait_for_coordinator(admin: Admin, group: str, seconds: float) -> None:
    """Wait up to `seconds` until the group's coordinator answers; any other error is left to the call that follows.

    Raises
    ------
    CoordinatorNotAvailableError
        If it does not answer in time.
    """
    deadline = time.monotonic() + seconds
    while (error := _error(admin, group)) is not None:
        if time.monotonic() > deadline:
            raise error
        time.sleep(_LOOK_SECONDS)


def _error(admin: Admin, group: str) -> KafkaError | None:
    try:
        found = admin.describe_group(group).error
    except KafkaError as error:
        found = error
    return found if isinstance(found, CoordinatorNotAvailableError) else None
