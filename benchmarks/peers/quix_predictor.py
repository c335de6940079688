"""Predictor written with Quix Streams and River in the usual way, the model in memory.

`json`: JSON in, JSON out, Quix's default. `avro`: the bytes that Millstream reads and writes, by fastavro.
Runs in an environment of its own with `quixstreams`, `river` and `fastavro`, without Millstream:
`python quix_predictor.py BOOTSTRAP GROUP IN OUT at-least-once|exactly-once json|avro SCHEMAS`.
"""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import fastavro
from quixstreams import Application
from river import linear_model, preprocessing

HEADER = 10  # bytes of Avro's single-object encoding before the fields


def main(bootstrap: str, group: str, source: str, target: str, guarantee: Any, form: str, schemas: str) -> None:
    """Answer until told to end."""
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    app = Application(
        broker_address=bootstrap,
        consumer_group=group,
        processing_guarantee=guarantee,
        auto_offset_reset="earliest",
        loglevel="WARNING",
    )

    def json_answer(event: dict[str, Any]) -> dict[str, Any]:
        shares = model.predict_proba_one(event["features"])
        event["prediction"] = shares[True] > 0.5
        event["probabilities"] = {"false": shares[False], "true": shares[True]}
        return event

    def avro_answer(value: bytes, key: Any, timestamp: int, headers: Any) -> bytes:
        event: Any = fastavro.schemaless_reader(io.BytesIO(value[HEADER:]), events, None)
        shares = model.predict_proba_one(event["features"])
        outcome = {
            "prediction": shares[True] > 0.5,
            "probabilities": {"false": shares[False], "true": shares[True]},
            "model": "elec",
            "epoch": 1,
            "examples": 0,
            "predicted_at": time.time_ns() // 1_000_000,
            "source_topic": source,
            "source_partition": 0,
            "source_offset": 0,
            "error": None,
            "role": "serving",
            "status": "ok",
        }
        out = io.BytesIO()
        fastavro.schemaless_writer(out, predictions, {"event": event, "outcome": outcome})
        return value[:HEADER] + out.getvalue()

    if form == "json":
        app.dataframe(app.topic(source)).apply(json_answer).to_topic(app.topic(target))
    else:
        events, predictions = _schema(schemas, "event"), _schema(schemas, "prediction")
        raw = {"value_deserializer": "bytes"}, {"value_serializer": "bytes"}
        frame = app.dataframe(app.topic(source, **raw[0]))
        frame.apply(avro_answer, metadata=True).to_topic(app.topic(target, **raw[1]))
    app.run()


def _schema(folder: str, name: str) -> Any:
    """Return a schema with all schemas that it names; without logical types, which would make datetimes."""
    known: dict[str, Any] = {}
    for each in ("event", "outcome", "prediction"):
        text = Path(folder, f"{each}.avsc").read_text().replace('"logicalType"', '"of"')
        parsed = fastavro.parse_schema(json.loads(text), known)
        if each == name:
            return parsed
    raise KeyError(name)


if __name__ == "__main__":
    main(*sys.argv[1:])
