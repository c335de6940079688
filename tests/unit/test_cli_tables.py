"""Tables on narrow terminals, and values under each other."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from millstream.cli import models, read_topics, shared_options
from millstream.versions.listing import RefusedVersion
from model_store import VersionId

Shown = Callable[[], list[str]]
_FEATURES = {f"feature_{number}": number / 3 for number in range(9)}
_TIME = 1_700_000_000_000


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """Stand in for a terminal of 80 columns; returns the lines it shows."""
    out = io.StringIO()
    monkeypatch.setattr(shared_options, "console", lambda: Console(file=out, width=80, highlight=False))
    return lambda: [line.rstrip() for line in out.getvalue().splitlines() if line.strip(" ─")]


def _row(number: int) -> dict[str, Any]:
    return {
        "timestamp": _TIME,
        "offset": 1000 + number,
        "lane": "import-3f9a1c",
        "sequence": number,
        "event_id": f"Phishing-{number}-9d2c11aa",
        "label": True,
        "kind": "label",
        "prediction": True,
        "probabilities": {"true": 0.123456789},
        "version": "1/1250",
        "features": _FEATURES,
        "stage": "predictor",
        "from": {"topic": "phishing.features", "partition": 0, "offset": number},
        "code": "contract",
        "reason": "feature_1 is no number: it is a text of 12 letters, 'twelve letters', and cannot be read",
        "key": f"Phishing-{number}-9d2c11aa",
    }


@pytest.mark.parametrize(
    ("kind", "columns", "headings"),
    [
        ("predictions", read_topics._PREDICTIONS, ("event", "prediction", "version", "features")),
        ("examples", read_topics._EXAMPLES, ("offset", "event", "label", "prediction", "version", "features")),
        ("dead-letters", read_topics._DEAD_LETTERS, ("from", "code", "reason")),
    ],
)
def test_at_80_columns_a_row_is_a_line_and_headings_are_whole(
    shown: Shown, kind: str, columns: Any, headings: tuple[str, ...]
) -> None:
    read_topics._print(kind, columns, [_row(number) for number in range(5)], cut=False)
    heading, *lines = shown()
    assert len(lines) == 5
    assert max(map(len, lines)) <= 80
    assert set(headings) <= set(heading.split())
    assert set(heading.split()) <= {name for name, _ in columns}
    assert all("…" in line for line in lines)
    assert "hishing" in lines[0]


def test_at_80_columns_versions_keep_their_metrics(shown: Shown) -> None:
    metrics = {"ROCAUC": 0.951234567, "LogLoss": None, "F1": 0.87654321, "Accuracy": 0.891234567}
    names = list(metrics)
    refused = RefusedVersion("1/300", "its signature is of no key that is trusted here; see `millstream keys`")
    rows: list[tuple[object, ...]] = [
        (
            VersionId("phishing", 1, 1250),
            shared_options.at(_TIME),
            *metrics.values(),
            "12.3 kB",
            "0.26.0",
            "interval",
            "serves",
        ),
    ]
    models._print_versions(rows, names, keep_reasons=False)
    heading, line = shown()
    assert heading.split() == ["version", *names, "now"]
    assert line.split()[1:] == ["0.951235", "–", "0.876543", "0.891235", "serves"]
    models._print_versions([*rows, models._row(refused, names, None)], names, keep_reasons=True)
    assert "refused: its" in shown()[-1]


def test_bad_rows_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    shared_options.print_fields(
        {"bad rows": 2, "first bad rows": ("a.csv:3: no label", "a.csv:7: 2 columns"), "rate": 0.5}
    )
    assert capsys.readouterr().out.splitlines() == [
        "bad rows        2",
        "first bad rows  a.csv:3: no label",
        "                a.csv:7: 2 columns",
        "rate            0.5",
    ]


def test_what_was_not_measured_is_never_a_number() -> None:
    assert [shared_options.cell(value) for value in (None, float("nan"), 0.0)] == ["–", "–", "0"]
