"""The bare server: parses one event with msgspec, asks River, and answers, on the web server that ours has.

It logs nothing, checks nothing, and has one version. `python -m benchmarks.bare_rsgi PORT LEARNED`
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import sys
import time
from typing import Any

import msgspec
import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from benchmarks.material import MODELS, cycle


class Event(msgspec.Struct):
    """The request."""

    features: dict[str, float]
    event_id: str | None = None


class Said(msgspec.Struct):
    """The answer."""

    event_id: str
    prediction: bool
    probabilities: dict[str, float]
    model: str
    version: str
    predicted_at: int


model = MODELS["lr"]()
decode = msgspec.json.Decoder(Event).decode
encode = msgspec.json.Encoder().encode
HEADERS = [("content-type", "application/json")]


async def app(scope: Any, protocol: Any) -> None:
    """Answer one request."""
    if scope.path == "/livez":
        protocol.response_bytes(200, HEADERS, b"{}")
        return
    event = decode(await protocol())
    shares = model.predict_proba_one(event.features)
    named = {"false": shares[False], "true": shares[True]}
    name = event.event_id or secrets.token_hex(12)
    said = Said(name, shares[True] > shares[False], named, "elec", "1/0", time.time_ns() // 1_000_000)
    protocol.response_bytes(200, HEADERS, encode(said))


async def serve(port: int) -> None:
    """Serve until told to end."""
    loop = asyncio.get_running_loop()
    server = Server(
        app, port=port, interface=Interfaces.RSGI, http=HTTPModes.http1, websockets=False, log_enabled=False
    )
    loop.add_signal_handler(signal.SIGTERM, server.stop)
    await server.serve()


if __name__ == "__main__":
    for _, row in cycle(int(sys.argv[2])):
        model.learn_one(row.features, row.label)
    uvloop.run(serve(int(sys.argv[1])))
