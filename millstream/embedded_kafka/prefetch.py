"""Preparation of the embedded broker: downloads everything that later starts need."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from millstream.embedded_kafka.broker import EmbeddedBroker
from millstream.embedded_kafka.class_data_sharing import ensure_archive, listing_options
from millstream.embedded_kafka.errors import BrokerError
from millstream.embedded_kafka.jars import ensure_jars
from millstream.embedded_kafka.java import find_java


def set_up(say: Callable[[str], None]) -> None:
    """Find Java, download Kafka, and archive its classes, unless they are there already.

    Raises
    ------
    BrokerError
        If Java is missing, or Kafka cannot be downloaded. A missing archive only makes starts slower.
    """
    java = find_java()
    ensure_jars(say)
    try:
        ensure_archive(java, _train, say)
    except BrokerError as error:
        say(f"{error}; Kafka will start a second later than it could")


def _train(lists: Path) -> list[str]:
    with tempfile.TemporaryDirectory() as home:
        broker = EmbeddedBroker(Path(home), port=0, java_options=listing_options(lists))
        try:
            broker.start()
        finally:
            broker.stop()
        return broker.java_options()


if __name__ == "__main__":
    try:
        set_up(print)
    except BrokerError as error:
        sys.exit(f"millstream: {error}")
