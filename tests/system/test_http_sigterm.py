"""SIGTERM while Kafka is away: the bound of 10 s for the flush, and what the next start publishes."""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from system.http_server import FLOW, SECONDS, free_port, is_ready, running, until
from system.oracle import Stream, predictions

from millstream.embedded_kafka.broker import EmbeddedBroker

DRAIN_S = 3.0
FLUSH_S = 10.0
MARGIN_S = 12.0  # processes that end on a busy machine


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker(tmp_path / "broker", port=0)
    broker.start(timeout=120)
    yield broker
    broker.stop()


def answered(client: httpx.Client, name: str, count: int) -> set[str]:
    """Let some events be answered; return their ids."""
    rows = [{"event_id": f"{name}-{number}", "features": {"x": 1.0, "y": 2.0}} for number in range(count)]
    answers = client.post("/v1/predict", json={"events": rows}).json()["answers"]
    assert all("prediction" in each for each in answers), answers
    return {each["event_id"] for each in answers}


@pytest.mark.full
def test_sigterm_without_kafka_serves_on_flushes_for_10_s_and_says_what_remains(
    broker: EmbeddedBroker, prefix: str, tmp_path: Path
) -> None:
    stream = Stream(str(FLOW), broker.status().bootstrap, prefix, tmp_path / "home")
    port = free_port()
    words = ("serve", stream.ref, "--port", str(port), "--console-port", "0", "--drain", f"{DRAIN_S:g}s")
    ids: set[str] = set()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        with running(stream, "run", stream.ref) as roles, running(stream, *words) as serve:
            until(lambda: is_ready(client) or serve.poll() is not None, "a server that is ready")
            ids |= answered(client, "with", 50)
            until(lambda: len(predictions(stream)) == len(ids), "they are on Kafka")
            roles.send_signal(signal.SIGTERM)
            assert roles.wait(SECONDS) == 0
            broker.kill()
            ids |= answered(client, "without", 50)
            began = time.monotonic()
            serve.send_signal(signal.SIGTERM)
            while client.get("/readyz").status_code == 200:
                assert time.monotonic() < began + 1, "it is unready at once"
            ids |= answered(client, "draining", 50)
            assert time.monotonic() < began + DRAIN_S, "that was while it drained"
            assert serve.wait(SECONDS) == 0
            seconds = time.monotonic() - began
            assert DRAIN_S < seconds < DRAIN_S + FLUSH_S + MARGIN_S
            said = serve.said()
        assert re.search(r"^100 answers and labels are not on Kafka yet: the next start publishes them$", said, re.M)
        broker.start(timeout=120)
        with running(stream, *words) as serve:
            until(lambda: len(predictions(stream)) >= len(ids) or serve.poll() is not None, "all are on Kafka")
            serve.send_signal(signal.SIGTERM)
            assert serve.wait(SECONDS) == 0
    logged = Counter(each.event.event_id for each in predictions(stream))
    assert logged == dict.fromkeys(ids, 1), "answered ids = logged ids, none twice"
