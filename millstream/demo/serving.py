"""Processes that `millstream demo --serve` runs beside the demo, and commands to try them with."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.config.settings import Settings
from millstream.processes.http_roles import ServerOptions
from millstream.processes.serving import Beside, serving
from millstream.processes.supervisor import Child

if TYPE_CHECKING:
    from producers.file_formats import RowSource
    from schemas.topics import Names

_EVENT_ID: Final = "try-1"


@dataclass(frozen=True)
class Served:
    """Options of the server, and what its processes have in common."""

    options: ServerOptions
    beside: Beside

    def children(self, settings: Settings, names: Names) -> list[Child]:
        """Return the processes, in starting order."""
        return serving(self.beside, settings, names, self.options)

    def commands(self, source: RowSource) -> Sequence[str]:
        """Return three commands to try: an answer, its label, and a further answer with its headers."""
        base = self.options.address
        row = next(iter(source.rows()))
        event = {"event_id": _EVENT_ID, "features": row.features}
        label = {"event_id": _EVENT_ID, "value": row.label}
        return (
            f"curl {base}/v1/predict -d {_quoted(event)}",
            f"curl {base}/v1/labels -d {_quoted(label)}",
            f"curl {base}/v1/predict -i -d {_quoted({'features': row.features})}",
        )


def _quoted(value: Any) -> str:
    return shlex.quote(msgspec.json.encode(value).decode())
