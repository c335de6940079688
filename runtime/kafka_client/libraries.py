"""Client libraries by name: the names, the default, and the library of a name."""

from __future__ import annotations

from importlib import metadata
from typing import Final, Literal, TypeAlias

from runtime.kafka_client.client import Library

KAFKA_PYTHON: Final = "kafka-python"
LIBRDKAFKA: Final = "librdkafka"
DEFAULT: Final = KAFKA_PYTHON
"""Library that is used where the settings name none."""
LibraryName: TypeAlias = Literal["kafka-python", "librdkafka"]
"""Valid values of the setting `client`."""
_PACKAGES: Final = {KAFKA_PYTHON: "kafka-python", LIBRDKAFKA: "confluent-kafka"}
_EXTRA: Final = "pip install 'millstream[fast]'"


class ClientUnavailable(Exception):  # noqa: N818
    """The named client library is unknown or not installed; the message says what can be done."""


def library_named(name: str) -> Library:
    """Return the library of a name. It is imported only here, so that no process loads a library that it does not use.

    Raises
    ------
    ClientUnavailable
        If there is no such library, or its package is not installed.
    """
    if name == KAFKA_PYTHON:
        from runtime.kafka_client.kafka_python.library import KafkaPython

        return KafkaPython()
    if name != LIBRDKAFKA:
        raise ClientUnavailable(f"client {name!r} is unknown: use {KAFKA_PYTHON} or {LIBRDKAFKA}")
    try:
        from runtime.kafka_client.librdkafka.library import Librdkafka
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "confluent_kafka":
            raise
        raise ClientUnavailable(
            f"client {LIBRDKAFKA} needs confluent-kafka, which is not installed: install the extra: {_EXTRA}, "
            f"or use client {KAFKA_PYTHON}"
        ) from error
    return Librdkafka()


def version_of(name: str) -> str:
    """Return the version of a library's Python package; ``unknown`` if it is not installed.

    >>> version_of("kafka-python").count(".")
    2
    """
    try:
        return metadata.version(_PACKAGES[name])
    except (KeyError, metadata.PackageNotFoundError):
        return "unknown"
