"""Server written with FastAPI and River in the usual way: one worker, the model in memory; it logs nothing.

Runs in an environment of its own with `fastapi`, `river`, `uvicorn`, `uvloop` and `httptools`, without Millstream:
`python fastapi_server.py PORT ELEC_CSV LEARNED`.
"""

from __future__ import annotations

import csv
import itertools
import sys
import time
import uuid

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from river import linear_model, preprocessing


class Event(BaseModel):
    """The request."""

    event_id: str | None = None
    features: dict[str, float]


class Answer(BaseModel):
    """The answer."""

    event_id: str
    prediction: bool
    probabilities: dict[str, float]
    model: str
    version: str
    predicted_at: int


app = FastAPI()
model = preprocessing.StandardScaler() | linear_model.LogisticRegression()


@app.post("/v1/predict")
async def predict(event: Event) -> Answer:
    """Answer one event."""
    shares = model.predict_proba_one(event.features)
    return Answer(
        event_id=event.event_id or uuid.uuid4().hex,
        prediction=shares[True] > shares[False],
        probabilities={"false": shares[False], "true": shares[True]},
        model="elec",
        version="1/0",
        predicted_at=time.time_ns() // 1_000_000,
    )


@app.get("/livez")
async def livez() -> dict[str, bool]:
    """Answer that the process lives."""
    return {"live": True}


def main(port: str, elec: str, learned: str) -> None:
    """Answer until told to end."""
    with open(elec, newline="") as file:
        for row in itertools.islice(csv.DictReader(file), int(learned)):
            label = row.pop("class") in ("1", "UP")
            model.learn_one({name: float(value) for name, value in row.items()}, label)
    uvicorn.run(app, port=int(port), loop="uvloop", http="httptools", log_level="warning", access_log=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
