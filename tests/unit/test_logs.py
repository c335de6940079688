"""What roles say: the message alone for people, JSON with whose it is for machines, and nothing too often."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from consumers.loop.dead_letters import dead_letter
from millstream.cli import app
from millstream.observability import role_log
from millstream.observability.log_events import LogMeter
from runtime.kafka_client.records import Output
from schemas.topics import Names

NAMES = Names("fraud")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    role_log.begin("text")


def test_in_text_a_line_is_the_message_alone(capsys: pytest.CaptureFixture[str]) -> None:
    role_log.begin("text", role="joiner")
    role_log.say("ready: 2 partitions", event="assigned")
    role_log.fail("joiner: it cannot go on")
    assert capsys.readouterr() == ("ready: 2 partitions\n", "joiner: it cannot go on\n")


def test_in_json_it_is_a_line_with_time_level_and_whose_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    role_log.begin("json", role="joiner")
    role_log.about(stream="fraud")
    role_log.say('two\nlines, "quoted"', event="assigned", partitions=2)
    role_log.fail("it cannot go on")
    out, err = capsys.readouterr()
    assert out.count("\n") == err.count("\n") == 1
    told, failed = json.loads(out), json.loads(err)
    assert told.pop("time").endswith("+00:00")
    assert told == {
        "level": "info", "message": 'two\nlines, "quoted"', "role": "joiner", "stream": "fraud", "event": "assigned",
        "partitions": 2,
    }  # fmt: skip
    assert failed["level"] == "error"


def test_auto_is_json_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    role_log.begin("auto")
    assert role_log.structured()


def test_a_commands_error_is_json_too_once_that_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    role_log.begin("json", role="joiner")
    assert app.run(["joiner", "no-such-stream", "--log-format", "json"]) == 1
    told = json.loads(capsys.readouterr().err)
    assert (told["event"], told["exit_code"], told["level"]) == ("failed", 1, "error")
    assert "no-such-stream" in told["message"]


def test_a_childs_json_is_passed_on_as_it_is_and_anything_else_with_its_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    role_log.begin("json", role="run")
    theirs = '{"time":"t","message":"ready: 1 partitions","event":"assigned","role":"joiner"}'
    role_log.relay("joiner-0", theirs)
    role_log.relay("joiner-0", "Traceback (most recent call last):")
    first, second = capsys.readouterr().out.splitlines()
    assert first == theirs
    assert json.loads(second)["process"] == "joiner-0"
    assert json.loads(second)["role"] == "run"


@pytest.mark.parametrize("line", ["{", "{}", '{"message": 1}', "plain", '["message"]'])
def test_what_is_not_one_of_our_lines_is_read_as_it_stands(line: str) -> None:
    assert role_log.read(line) == role_log.Line(line, "", False)


class Said:
    """Lines, and a clock."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.now = 1000.0
        self.meter = LogMeter(NAMES, self.say, lambda: self.now)

    def say(self, line: str, /, **fields: Any) -> None:
        self.lines.append((line, fields))

    def refuse(self, *codes: str) -> None:
        record: Any = type("R", (), {"topic": "t", "partition": 0, "offset": 1, "timestamp": 1, "key": None})()
        record.value, record.headers = b"x", ()
        letters = [dead_letter("fraud.dead-letters", record, "joiner", code, "because", 1) for code in codes]
        self.meter.committed([Output("fraud.examples", 0, None, b""), *letters], {}, 0.1)


def test_dead_letters_are_summed_up_once_a_minute() -> None:
    said = Said()
    said.refuse("codec")
    for _ in range(50):
        said.refuse("codec", "label")
        said.now += 1
        said.meter.turned()
    said.now += 60
    said.meter.turned()
    said.meter.turned()
    assert [line for line, _ in said.lines] == [
        "refused, and among the dead letters: 1 codec",
        "refused, and among the dead letters: 50 codec, 50 label",
    ]
    assert said.lines[1][1] == {"event": "dead-letters", "codes": {"codec": 50, "label": 50}}


def test_nothing_is_said_of_what_was_not_refused() -> None:
    said = Said()
    said.refuse()
    said.meter.turned()
    assert said.lines == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no disk that is always full")
def test_a_log_on_a_full_disk_loses_lines_and_ends_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full").open("w")  # noqa: SIM115 - closing it fails
    monkeypatch.setattr("sys.stdout", full)
    role_log.say("a line")
    role_log.say("another")
    monkeypatch.undo()
    with suppress(OSError):
        full.close()
