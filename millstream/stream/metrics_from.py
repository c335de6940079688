"""Downstream metrics in a stream file: `metrics_from`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from millstream.stream.errors import InvalidStream
from schemas.sources.metric_mapping import check_metrics
from schemas.sources.source import InvalidSource, Source

HTTP: Final = "http"
MetricsFrom: TypeAlias = "Source | Literal['http'] | Sequence[Source | Literal['http']]"


def each_of(said: MetricsFrom) -> tuple[object, ...]:
    """Return what is named, one by one.

    >>> each_of("http"), each_of(()), each_of(["http"])
    (('http',), (), ('http',))
    """
    return (said,) if isinstance(said, (str, Source)) or not isinstance(said, Sequence) else tuple(said)


def sources_of(said: MetricsFrom) -> tuple[Source, ...]:
    """Return the external topics."""
    return tuple(each for each in each_of(said) if isinstance(each, Source))


def takes_http(said: MetricsFrom) -> bool:
    """Return whether the server takes metrics."""
    return HTTP in each_of(said)


def names_of(said: MetricsFrom) -> tuple[str, ...] | None:
    """Return the names of the metrics; `None` if any name can come, over HTTP or from a source without fields.

    >>> names_of(()), names_of(Source(topic="orders", fields={"orders": "total"})), names_of("http")
    ((), ('orders',), None)
    """
    sources = sources_of(said)
    if takes_http(said) or not all(each.fields for each in sources):
        return None
    return tuple(name for each in sources for name in each.fields)


def check_metrics_from(said: MetricsFrom) -> None:
    """Raise InvalidStream unless metrics can be read from all that is named."""
    topics: set[str] = set()
    for each in each_of(said):
        if not isinstance(each, Source):
            if each != HTTP:
                raise InvalidStream(
                    f"Stream: metrics_from={each!r:.60} must be Source(topic='orders', fields={{'orders': 'total'}}), "
                    "'http', or several of these"
                )
            continue
        try:
            check_metrics(each)
        except InvalidSource as error:
            raise InvalidStream(f"Stream: metrics_from: {error}") from error
        if each.topic in topics:
            raise InvalidStream(f"Stream: metrics_from= names the topic {each.topic} twice: put its fields together")
        topics.add(each.topic)
