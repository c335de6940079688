"""A process that reads an examples log once: `python -m benchmarks.frame_process WAY BOOTSTRAP PREFIX`.

The way is ``bare`` (poll, and fastavro into a list), ``ours`` (`to_pandas`) or ``memory`` (the same,
its memory measured).
It prints seconds and rows; for memory the MB that the process grew to at most, and those of the frame.
"""

from __future__ import annotations

import gc
import resource
import sys
import time
from io import BytesIO
from typing import Any, Final

import fastavro
import pandas  # noqa: F401 - its import is not part of what is measured
import psutil

import millstream
from benchmarks.role import STREAM
from millstream.reading.topic_readers import each_record
from runtime.kafka_client.cluster import Cluster
from schemas import codec
from schemas.topics import Names

_SCHEMA: Final = fastavro.parse_schema(codec.full_schema("Example"))


def bare(bootstrap: str, prefix: str) -> int:
    """Decode every record into a list, as fastavro does it alone."""
    decoded: list[Any] = []
    for record in each_record(Cluster(bootstrap), Names(STREAM, prefix), "examples"):
        source = BytesIO(record.value or b"")
        source.seek(codec.HEADER_BYTES)
        decoded.append(fastavro.schemaless_reader(source, _SCHEMA, None))
    return len(decoded)


def ours(bootstrap: str, prefix: str) -> int:
    return len(millstream.examples(STREAM, bootstrap=bootstrap, prefix=prefix).to_pandas())


def main(way: str, bootstrap: str, prefix: str) -> None:
    """Print what was measured."""
    read = {"bare": bare, "ours": ours}.get(way)
    if read is not None:
        if way == "bare":
            gc.disable()  # a million dicts in a list: what looks for circles among them is no decoding
        began = time.perf_counter()
        rows = read(bootstrap, prefix)
        print(time.perf_counter() - began, rows)
        return
    examples = millstream.examples(STREAM, bootstrap=bootstrap, prefix=prefix, limit=1000)
    examples.to_pandas()
    before = psutil.Process().memory_info().rss
    frame = millstream.examples(STREAM, bootstrap=bootstrap, prefix=prefix).to_pandas()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print((peak - before) / 2**20, frame.memory_usage(deep=True).sum() / 2**20)


if __name__ == "__main__":
    main(*sys.argv[1:])
