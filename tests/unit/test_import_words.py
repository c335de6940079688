"""What an import says beside its numbers."""

from __future__ import annotations

from dataclasses import replace

from millstream.cli.publish import _code, _of_published, _told
from producers.imports import ImportReport
from producers.publisher import PublishReport

REPORT = ImportReport(
    lane="import-0", already=0, imported=10, refused=0, first_refused=(), lane_examples=10, lane_refused=0,
    interrupted=False, seconds=1.0,
)  # fmt: skip
PUBLISHED = PublishReport(
    sent=500, acknowledged=500, labels_sent=500, labels_acknowledged=500, labels_unsent=0, without_label=0, resent=0,
    bad_rows=0, first_bad_rows=(), interrupted=False, seconds=1.0,
)  # fmt: skip


def test_a_first_import_of_different_rows_needs_no_words() -> None:
    assert list(_told(REPORT, "h.csv")) == []


def test_the_same_import_again_is_told() -> None:
    [line] = _told(replace(REPORT, already=1200, imported=0), "h.csv")
    assert line == "nothing new: all 1,200 rows of h.csv were imported before, and are not learned again"
    assert list(_told(replace(REPORT, already=1200, imported=3), "h.csv")) == []


def test_rows_with_the_id_of_another_are_told_with_their_count() -> None:
    [line] = _told(replace(REPORT, repeated_ids=1234), "h.csv")
    assert line.startswith("warning: 1,234 rows of h.csv have the id of an earlier row")


def test_an_import_that_takes_nothing_says_why_and_fails() -> None:
    nothing = replace(REPORT, imported=0, refused=60, lane_examples=0, lane_refused=60)
    assert list(_told(nothing, "h.csv")) == ["nothing of h.csv was imported: all its 60 rows are refused"]
    assert list(_told(replace(nothing, refused=0, lane_refused=0), "h.csv")) == [
        "nothing of h.csv was imported: it has no rows"
    ]
    assert _code(nothing, taken=False) == 1
    assert _code(replace(nothing, interrupted=True), taken=False) == 130
    assert _code(REPORT, taken=True) == 0


def test_published_ids_that_come_twice_are_told_with_their_count() -> None:
    assert list(_of_published(PUBLISHED, "p.csv", "phishing", None, None)) == []
    [line] = _of_published(replace(PUBLISHED, repeated_ids=490), "p.csv", "phishing", None, None)
    assert line.startswith("warning: 490 rows of p.csv have the id of an earlier row")
