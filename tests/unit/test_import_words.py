"""What an import says beside its numbers."""

from __future__ import annotations

from dataclasses import replace

from millstream.cli.publish import _told
from producers.imports import ImportReport

REPORT = ImportReport(
    lane="import-0", already=0, imported=10, refused=0, first_refused=(), lane_examples=10, lane_refused=0,
    interrupted=False, seconds=1.0,
)  # fmt: skip


def test_a_first_import_of_different_rows_needs_no_words() -> None:
    assert list(_told(REPORT, "h.csv")) == []


def test_the_same_import_again_is_told() -> None:
    [line] = _told(replace(REPORT, already=1200, imported=0), "h.csv")
    assert line == "nothing new: all 1,200 rows of h.csv were imported before, and are not learned again"
    assert list(_told(replace(REPORT, already=1200, imported=3), "h.csv")) == []


def test_rows_with_the_id_of_another_are_told_with_their_count() -> None:
    [line] = _told(replace(REPORT, repeated_ids=1234), "h.csv")
    assert line.startswith("warning: 1,234 rows of h.csv have the id of a row before them")
