"""What all tests share: a Kafka, and data that not every checkout has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from kafka_fixture import bootstrap, prefix, pytest_addoption

__all__ = ["bootstrap", "prefix", "pytest_addoption"]

_ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def elec_path() -> Path:
    """Return the file of the Elec2 data: ``MILLSTREAM_ELEC``, or ``../shared/data/elec.csv`` beside the checkout."""
    path = Path(os.environ.get("MILLSTREAM_ELEC") or _ROOT.parent / "shared" / "data" / "elec.csv")
    if not path.exists():
        pytest.skip("elec.csv is not here; name it with MILLSTREAM_ELEC")
    return path
