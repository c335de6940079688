"""Processes of this machine that are in no group: servers, forwarder, importer, console."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from consumers.roles import CONSOLE
from millstream.status.http_state import look
from millstream.status.processes import is_released
from millstream.status.report import Report
from millstream.status.upload_state import look as look_at_uploads
from millstream.status.usage import usage_here
from server.spool.folder import SPOOL
from server.uploads.folder import UPLOADS


def with_processes_here(report: Report, state: Path) -> Report:
    """Return the report, completed by what the stream's state folder says of this machine."""
    http = look(state / SPOOL)
    uploads = look_at_uploads(state / UPLOADS)
    needs = [need for each in (http, uploads) if each is not None and (need := each.needs())]
    consoles = sum(not is_released(lock) for lock in state.glob(f"{CONSOLE}-*.lock"))
    usage = usage_here(state)
    return replace(report, http=http, uploads=uploads, consoles=consoles, usage=usage, alerts=(*report.alerts, *needs))
