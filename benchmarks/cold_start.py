"""Cold start of a server: from the start of its process, without any state, to its first answer."""

from __future__ import annotations

import http.client
import json
import shutil
import time
from typing import Final

from benchmarks.figures import Figure, Spread
from benchmarks.rig import Process, Rig, until
from benchmarks.throughput import Size, publish_untrained
from millstream.embedded_kafka.server_properties import free_port

_SECONDS: Final = 60.0
_EVENT: Final = json.dumps({"features": {"day": 0.5, "nswprice": 0.1}})


def cold_start(rig: Rig, size: Size) -> list[Figure]:
    """Measure a server that publishes before it answers: the answer is on Kafka when it is heard."""
    names = rig.names("cold-start")
    publish_untrained(rig, names)
    home = rig.folder / names.prefix
    taken: list[float] = []
    worked: list[float] = []
    for _ in range(size.rounds):
        shutil.rmtree(home / "state", ignore_errors=True)
        port = free_port()
        began = time.monotonic()
        where = (str(home), rig.cluster.bootstrap, names.prefix, str(port))
        process = rig.python("benchmarks.http_process", "server", *where, "before-answer")
        try:
            until(lambda process=process, port=port: _answers(process, port), _SECONDS, "the server does not answer")
            taken.append(time.monotonic() - began)
            times = process.stats.cpu_times()
            worked.append(times.user + times.system)
        finally:
            process.end()
    return [
        Figure(
            "cold-start",
            "server without state, --publish before-answer: start of its process → first answer, s",
            Spread(tuple(taken)),
            "s",
            "at most",
            _SECONDS,
            {"processor time until then, s": Spread(tuple(worked))},
            "printed; nothing faster is required",
        )
    ]


def _answers(process: Process, port: int) -> bool:
    process.require()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    try:
        connection.request("POST", "/v1/predict", _EVENT)
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()
