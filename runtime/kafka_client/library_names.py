"""Names of the client libraries, the default, and the installed versions; imports no library."""

from __future__ import annotations

from importlib import metadata
from typing import Final, Literal, TypeAlias

KAFKA_PYTHON: Final = "kafka-python"
LIBRDKAFKA: Final = "librdkafka"
LibraryName: TypeAlias = Literal["kafka-python", "librdkafka"]
"""Valid values of the setting `client`."""
DEFAULT: Final[LibraryName] = KAFKA_PYTHON
"""Library that is used where the settings name none."""
PACKAGES: Final = {KAFKA_PYTHON: "kafka-python", LIBRDKAFKA: "confluent-kafka"}
"""Python package of each library."""


def version_of(name: str) -> str:
    """Return the version of a library's Python package; ``unknown`` if it is not installed.

    >>> version_of("kafka-python").count(".")
    2
    """
    try:
        return metadata.version(PACKAGES[name])
    except (KeyError, metadata.PackageNotFoundError):
        return "unknown"
