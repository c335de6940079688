"""What the system tests share: the Kafka client of the commands."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def _client(client: str) -> str:
    return client
