"""Client libraries by name."""

from __future__ import annotations

from typing import Final

from runtime.kafka_client.client import Library
from runtime.kafka_client.library_names import KAFKA_PYTHON, LIBRDKAFKA, PACKAGES

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
        import confluent_kafka  # noqa: F401 - an optional package: is it there?
    except ModuleNotFoundError as error:
        raise ClientUnavailable(
            f"client {LIBRDKAFKA} needs {PACKAGES[LIBRDKAFKA]}, which is not installed: install the extra: {_EXTRA}, "
            f"or use client {KAFKA_PYTHON}"
        ) from error
    from runtime.kafka_client.librdkafka.library import Librdkafka

    return Librdkafka()
