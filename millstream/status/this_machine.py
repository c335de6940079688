"""Processes of this machine that are in no group: those that answer over HTTP, and the console."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from consumers.roles import CONSOLE
from millstream.status.http_state import look
from millstream.status.processes import is_released
from millstream.status.report import Report
from server.spool.folder import SPOOL


def with_processes_here(report: Report, state: Path) -> Report:
    """Return the report, completed by what the stream's state folder says of HTTP servers, forwarder and consoles."""
    http = look(state / SPOOL)
    need = None if http is None else http.needs()
    consoles = sum(not is_released(lock) for lock in state.glob(f"{CONSOLE}-*.lock"))
    return replace(report, http=http, consoles=consoles, alerts=(*report.alerts, *([need] if need else [])))
