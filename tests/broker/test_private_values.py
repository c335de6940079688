"""A private value that is sent is found nowhere on the wire and on the disk but where the events themselves are."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from broker.commands import Run
from broker.phishing_loop import serving
from whole_loop import whole_loop
from window_oracle import expected

from millstream.cli.app import run as command
from millstream.config.settings import Settings
from millstream.reading.pages import page
from millstream.stream.load import load_stream
from millstream.stream.processor_rules import definition_of

TEXT, NUMBER = "DE02120300000000202051", 98_765.4321
MARKS = (TEXT.encode(), b"98765.43", struct.pack("<d", NUMBER), b"98,765")
FILE = """
from river import compose, linear_model
from millstream import Feature, Stream, Watch

stream = Stream(
    name="loans",
    task="binary",
    model=lambda: compose.Select("amount") | linear_model.LogisticRegression(),
    features={
        "iban": Feature(type="string", private=True), "income": Feature(maximum=1e6, private=True), "amount": "number",
    },
    slices={"rich": "income > 1000"},
    watch=Watch(window="1s", window_events=10),
)
"""
SENT = 30
_EVENTS = ("features", "predictions", "examples")  # and the records inside dead letters


def marks_in(*texts: Any) -> list[bytes]:
    """Return the marks that are found in texts or bytes."""
    said = [each if isinstance(each, bytes) else str(each).encode() for each in texts]
    return [mark for mark in MARKS if any(mark in each for each in said)]


def test_a_private_value_is_nowhere_but_where_the_events_are(
    run: Run, bootstrap: str, prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "loans.py"
    file.write_text(FILE)
    settings = Settings(tmp_path, bootstrap, prefix)
    loaded = load_stream(str(file))
    more: Any = {"definition": definition_of(loaded), "models": settings.models}
    with whole_loop(loaded.stream, bootstrap, prefix, tmp_path, **more) as loop:
        for number in range(SENT):
            loop.event(f"e{number}", {"iban": TEXT, "income": NUMBER, "amount": float(number)})
        loop.event("range", {"iban": TEXT, "income": NUMBER * 1e3, "amount": 1.0})
        loop.event("type", {"iban": TEXT, "income": TEXT, "amount": 1.0})
        loop.wait_until(lambda: len(loop.predictions()) == SENT + 2, "all are answered")
        for number in range(SENT):
            loop.label(f"e{number}", number % 2 == 0)
        loop.wait_until(lambda: serving(loop) == f"1/{SENT}", "the newest version serves")
        written = {kind: [*loop.records(loop.names.topic(kind))] for kind in loop.names.kinds if kind != "profiles"}
        windows = [
            each for found in expected(loop.cluster, loop.names, loaded.stream, b"secret").values() for each in found
        ]
        letters, _ = page(loop.cluster, loop.names, "dead-letters", limit=10)
    assert marks_in(*(record.value for record in written["examples"])), "the events have it"
    for kind in set(written) - {*_EVENTS, "dead-letters"}:
        assert not marks_in(*(part or b"" for record in written[kind] for part in (record.key, record.value))), kind
    assert sum(window.events for window in windows) >= SENT
    assert any("feature:iban" in window.profiles for window in windows)
    assert not marks_in(*(each.encode() for each in windows), *windows)
    assert [letter["code"] for letter in letters] == ["range", "type"]
    assert not marks_in(*letters)
    errors = [str(each.outcome.error) for each in loop.predictions() if each.outcome.error is not None]
    assert len(errors) == 2
    assert not marks_in(*errors)
    for words in (["trace", str(file), "e3"], ["trace", str(file), "range"], ["dead-letters", str(file)]):
        told = run(*words)
        assert told[0] == 0
        assert not marks_in(json.dumps(told[1]), told[2]), words
    capsys.readouterr()
    assert command(["preview", str(file), "--json", "--count", "40"]) == 0
    shown = capsys.readouterr().out
    assert "(private)" in shown
    assert not marks_in(shown)
