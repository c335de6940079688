"""What a report says of this machine: the spool of answers over HTTP."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from millstream.status.http_state import look
from millstream.status.report import Report
from server.spool.folder import SPOOL


def with_http(report: Report, state: Path) -> Report:
    """Return the report with the state of the spool in the stream's state folder, if there is one."""
    http = look(state / SPOOL)
    need = None if http is None else http.needs()
    return replace(report, http=http, alerts=(*report.alerts, *([need] if need else [])))
