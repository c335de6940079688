"""Asks a server at a steady rate, and sends the labels later.

`python -m benchmarks.http_labels PORT RATE SECONDS DELAY` prints a line of JSON: by event id when its label was sent,
and of each answer when it came and how many examples its version had learned. Times are ns of the machine's monotonic
clock. DELAY is the number of events before a label.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from benchmarks.http_load import Connection, Failed, request
from benchmarks.material import cycle


def ask(connection: Connection, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to one request."""
    connection.send(request(path, json.dumps(body).encode()))
    while (answer := connection.answer()) is None:
        pass
    found: dict[str, Any] = json.loads(answer[answer.find(b"\r\n\r\n") :])
    return found


def main(port: int, rate: float, seconds: float, delay: int) -> dict[str, Any]:
    """Return when labels were sent, and what answered."""
    connection = Connection(port)
    material = [row for _, row in cycle(round(rate * seconds))]
    ids: list[str] = []
    labels: dict[str, int] = {}
    answers: list[tuple[int, int]] = []
    began = time.monotonic_ns()
    for number, row in enumerate(material):
        due = began + int(number * 1e9 / rate)
        while (now := time.monotonic_ns()) < due:
            time.sleep((due - now) / 1e9)
        ids.append(str(now))
        said = ask(connection, "/v1/predict", {"event_id": ids[-1], "features": row.features})
        answers.append((time.monotonic_ns(), int(said["version"].partition("/")[2])))
        if number >= delay:
            name = ids[number - delay]
            labels[name] = time.monotonic_ns()
            taken = ask(connection, "/v1/labels", {"event_id": name, "value": material[number - delay].label})
            if not taken.get("taken"):
                raise Failed(f"the label of {name} was not taken: {taken}")
    return {"labels": labels, "answers": answers}


if __name__ == "__main__":
    port, rate, seconds, delay = sys.argv[1:]
    print(json.dumps(main(int(port), float(rate), float(seconds), int(delay))))
