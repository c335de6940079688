"""What roles say, through one place: lines for people on a terminal, JSON for machines elsewhere.

One line for each decision that matters, none for an event. In text a line is the message alone; in JSON it has the
time, the level, whose it is (`role`, `instance`, `stream`), and what `event` it tells of with that event's numbers.
Errors go to standard error, all else to standard output, in both forms.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple

Format = Literal["auto", "text", "json"]
VARIABLE: Final = "MILLSTREAM_LOG_FORMAT"
LOGGER: Final = logging.getLogger("millstream")


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return record.getMessage()


class _Json(logging.Formatter):
    def __init__(self, about: dict[str, Any]) -> None:
        super().__init__()
        self.about = about

    def format(self, record: logging.LogRecord) -> str:
        if getattr(record, "verbatim", False):
            return record.getMessage()
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told = {"time": at, "level": record.levelname.lower(), "message": record.getMessage()}
        told |= self.about | getattr(record, "fields", {})
        return json.dumps(told, default=str, ensure_ascii=False)


class _Handler(logging.Handler):
    """Writes to what standard output and error are at that moment: tests and the shell change them."""

    def emit(self, record: logging.LogRecord) -> None:
        stream = sys.stderr if record.levelno >= logging.ERROR else sys.stdout
        try:
            print(self.format(record), file=stream, flush=True)
        except BrokenPipeError:
            raise
        except OSError:
            pass  # a log on a full disk loses lines; what the role does matters more, and there is no place to say it


_HANDLER: Final = _Handler()
_HANDLER.setFormatter(_Text())
LOGGER.addHandler(_HANDLER)
LOGGER.setLevel(logging.INFO)
LOGGER.propagate = False


def begin(form: Format, **about: str) -> None:
    """Say everything in this form from now on; `auto` is text on a terminal and JSON elsewhere."""
    structured = form == "json" or (form == "auto" and not sys.stdout.isatty())
    _HANDLER.setFormatter(_Json(dict(about)) if structured else _Text())


def about(**more: str) -> None:
    """Add to what every line says of who says it."""
    if isinstance(_HANDLER.formatter, _Json):
        _HANDLER.formatter.about |= more


def structured() -> bool:
    """Tell whether lines are JSON."""
    return isinstance(_HANDLER.formatter, _Json)


def say(line: str, /, **fields: Any) -> None:
    """Say one line at once; `fields` are only in JSON."""
    LOGGER.info("%s", line, extra={"fields": fields})


def fail(line: str, /, **fields: Any) -> None:
    """Say why it cannot go on."""
    LOGGER.error("%s", line, extra={"fields": fields})


def defect(error: BaseException) -> dict[str, str]:
    """Return the fields of an error that nobody has foreseen."""
    return {"traceback": "".join(traceback.format_exception(error))}


def ended(role: str, code: int) -> None:
    """Say with which code; in text the shell or the supervisor says so, and the line before it says why."""
    if structured():
        say(f"{role} ends with {code}", event="ended", exit_code=code)


class Line(NamedTuple):
    """What another process has said; `event` only where it was JSON."""

    message: str
    event: str
    structured: bool


def read(line: str) -> Line:
    """Return what a line says, whichever form it has.

    >>> read('{"message": "ready: 2 partitions", "event": "assigned"}').message
    'ready: 2 partitions'
    """
    if line.startswith("{"):
        try:
            told = json.loads(line)
        except ValueError:
            told = None
        if isinstance(told, dict) and isinstance(told.get("message"), str):
            return Line(told["message"], str(told.get("event", "")), True)
    return Line(line, "", False)


def relay(process: str, line: str) -> None:
    """Pass on a child's line: JSON as it is, anything else as ours, with the name of the child."""
    if read(line).structured:
        LOGGER.handle(_verbatim(line))
    else:
        say(line, process=process)


def _verbatim(line: str) -> logging.LogRecord:
    return LOGGER.makeRecord(LOGGER.name, logging.INFO, "", 0, line, (), None, extra={"verbatim": True})
