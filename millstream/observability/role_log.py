"""Log of the roles: text lines on a terminal, JSON elsewhere.

There is one line for each important decision, and none for a single event of the stream. A text line is only the
message. A JSON line also has the time, the level, its origin (`role`, `instance`, `stream`), and a name (`event`) with
fields. In both forms errors go to standard error, all else to standard output.
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
    """Writes to the current standard output and error, which tests and the shell may replace."""

    def emit(self, record: logging.LogRecord) -> None:
        stream = sys.stderr if record.levelno >= logging.ERROR else sys.stdout
        try:
            print(self.format(record), file=stream, flush=True)
        except BrokenPipeError:
            raise
        except OSError:
            pass  # a log on a full disk loses lines; the role's work matters more, and no place is left to report it


_HANDLER: Final = _Handler()
_HANDLER.setFormatter(_Text())
LOGGER.addHandler(_HANDLER)
LOGGER.setLevel(logging.INFO)
LOGGER.propagate = False


def begin(form: Format, **about: str) -> None:
    """Set the form of all later lines; `auto` is text on a terminal and JSON elsewhere."""
    structured = form == "json" or (form == "auto" and not sys.stdout.isatty())
    _HANDLER.setFormatter(_Json(dict(about)) if structured else _Text())


def about(**more: str) -> None:
    """Add fields that name the origin of every line."""
    if isinstance(_HANDLER.formatter, _Json):
        _HANDLER.formatter.about |= more


def structured() -> bool:
    """Return whether lines are JSON."""
    return isinstance(_HANDLER.formatter, _Json)


def say(line: str, /, **fields: Any) -> None:
    """Write one line at once; `fields` appear only in JSON."""
    LOGGER.info("%s", line, extra={"fields": fields})


def fail(line: str, /, **fields: Any) -> None:
    """Write an error line: the reason why the process cannot continue."""
    LOGGER.error("%s", line, extra={"fields": fields})


def defect(error: BaseException) -> dict[str, str]:
    """Return the log fields of an unexpected error."""
    return {"traceback": "".join(traceback.format_exception(error))}


def ended(role: str, code: int) -> None:
    """Write the exit code, only in JSON: in text the shell or the supervisor reports it."""
    if structured():
        say(f"{role} ends with {code}", event="ended", exit_code=code)


class Line(NamedTuple):
    """A line of another process; it has an `event` only if it was JSON."""

    message: str
    event: str
    structured: bool


def read(line: str) -> Line:
    """Parse a line in either form.

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
    """Pass on a child's line: JSON unchanged, text as a line of this process with the child's name."""
    if read(line).structured:
        LOGGER.handle(_verbatim(line))
    else:
        say(line, process=process)


def _verbatim(line: str) -> logging.LogRecord:
    return LOGGER.makeRecord(LOGGER.name, logging.INFO, "", 0, line, (), None, extra={"verbatim": True})
