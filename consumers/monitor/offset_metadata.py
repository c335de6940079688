"""Offset metadata of a monitor: begin of each open window, and the memory of its judging."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from consumers.loop.offset_metadata import OffsetMetadata, decodable
from consumers.roles import MONITOR

MOST_FINDINGS = 8
LONGEST_FINDING = 60


@decodable
class MonitorMetadata(OffsetMetadata):
    """Metadata of a monitor's committed offset; `topic_id`, `gone` and `begun` as in `consumers.loop.start_offsets`.

    Attributes
    ----------
    open
        Offset of the first record of the partition's open window, -1 if there is none: a restart reads from there.
    before
        First offset of the partition's last window, with whose state the open one goes on; -1 if there is none.
    windows, events
        Number of the partition's windows so far, and of the records in them.
    last
        The broker's time (ms) of the last record in the last window.
    unreadable
        Number of records that could not be decoded.
    finding
        Number of findings that have not ended; only on the profiles topic, like the following.
    findings
        The first of them, as ``check subject``.
    judged
        What the judging remembers beside the windows.
    """

    role: ClassVar[str] = MONITOR
    by_topic: ClassVar[bool] = True

    topic_id: str = msgspec.field(default="", name="t")
    gone: int = 0
    begun: int = 0
    open: int = -1
    before: int = -1
    windows: int = 0
    events: int = 0
    last: int = 0
    unreadable: int = 0
    finding: int = 0
    findings: list[str] = msgspec.field(default_factory=list)
    judged: str = ""
