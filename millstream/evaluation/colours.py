"""Colours of the curves, which people with any kind of colour vision can tell apart (Okabe and Ito, 2008)."""

from __future__ import annotations

from typing import Final

from millstream.evaluation.findings import Findings

_MODELS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_OTHERS: Final = ("#7f7f7f", "#a8a29e", "#b58900")


def colours(report: Findings) -> dict[str, str]:
    """Return the colour of each result: models in strong colours, baselines in grey ones."""
    counts = {"model": 0, "other": 0}
    found = {}
    for each in report.results:
        kind = "model" if each.kind == "model" else "other"
        palette = _MODELS if kind == "model" else _OTHERS
        found[each.name] = palette[counts[kind] % len(palette)]
        counts[kind] += 1
    return found
