"""Demo of drift: data that changes halfway, and what was found and done about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from consumers.roles import MONITOR
from millstream.evaluation.drift.collect import collect, stored_windows
from millstream.evaluation.drift.page import write_page
from millstream.evaluation.drift.report import DriftReport
from millstream.reading.decision_history import read_history, row
from millstream.reading.topic_readers import each_record
from millstream.stream.monitor_rules import drift_rules
from producers.file_formats import RowSource
from producers.rows import OnBad, RawRow
from schemas.alerts import Alert, read_alert
from schemas.codec import CodecError

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.stream.load import LoadedStream
    from runtime.kafka_client.cluster import Cluster
    from schemas.topics import Names

STREAM: Final = "bananas-drift"
FEATURE: Final = "1"
_ADDED: Final = 1.5  # about one and a half standard deviations of this feature


class DriftingRows(RowSource):
    """Rows of another source; from the middle on, a number feature is larger."""

    def __init__(self, rows: RowSource, feature: str = FEATURE, added: float = _ADDED) -> None:
        super().__init__(rows.name, rows.stem, rows.spec)
        self.unit = rows.unit
        self._rows, self._feature, self._added = rows, feature, added

    @property
    def middle(self) -> int:
        """Number of rows before the change."""
        return (self._rows.count() or 0) // 2

    def raw_rows(self, on_bad: OnBad) -> Iterator[RawRow]:
        middle = self.middle
        for number, raw in enumerate(self._rows.raw_rows(on_bad)):
            yield raw if number < middle else self._moved(raw)

    def _moved(self, raw: RawRow) -> RawRow:
        value = raw.features.get(self._feature)
        if not isinstance(value, (int, float)):
            return raw
        return msgspec.structs.replace(raw, features={**raw.features, self._feature: value + self._added})

    def columns(self) -> list[str]:
        return self._rows.columns()

    def count(self) -> int | None:
        return self._rows.count()

    def sha256(self) -> str:
        return self._rows.sha256()


def look_back(loaded: LoadedStream, cluster: Cluster, names: Names, settings: Settings) -> dict[str, Any]:
    """Judge the windows, write the page of it into the home folder, and return what happened as plain values."""
    report = DriftReport(
        names.stream, collect(stored_windows(cluster, names, names.stream), drift_rules(loaded.stream), names.stream)
    )
    page = settings.home / f"demo-{names.stream}.html"
    write_page(report, page)
    return {
        "alerts": [msgspec.structs.asdict(each) for each in _alerts(cluster, names)],
        "decisions": [row(each) for each in read_history(cluster, names)],
        "drift": report.to_dict(),
        "page": str(page),
    }


def _alerts(cluster: Cluster, names: Names) -> Iterator[Alert]:
    for record in each_record(cluster, names, "alerts"):
        try:
            alert = read_alert(record.value or b"")
        except CodecError:
            continue
        if alert.name.startswith(f"{MONITOR}."):
            yield alert


def words(found: Mapping[str, Any], stream: str) -> Iterator[str]:
    """Yield what happened, as text."""
    yield ""
    yield f"  From the middle on, {_ADDED:g} was added to feature {FEATURE!r} of each event."
    raised = [each for each in found["alerts"] if each["state"] == "raised"]
    for each in raised:
        yield f"  {each['name']} ({each['severity']}): {each['message']}"
    if not raised:
        yield "  no alert was raised: the monitor had too few windows before the middle, or sees the newest one later"
    for each in found["decisions"]:
        yield f"  {each['by']}: {each['decision']}: {each['why']}"
    yield f"  the reference against now, with pictures: {found['page']}"
    yield ""
    yield "Ask more:"
    yield ""
    for command in (
        f"drift {stream}",
        f"performance {stream} --by window",
        f"alerts {stream}",
        f'resume {stream} --why "the sensor is put right"',
    ):
        yield f"  millstream {command}"
