"""Style of the learning curves in pictures and on pages: colours, range of values, what is outside."""

from __future__ import annotations

from typing import Final, NamedTuple

from millstream.evaluation.findings import Curve, Findings

# People with any kind of colour vision can tell these apart (Okabe and Ito, "Color Universal Design", 2008).
_MODELS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_OTHERS: Final = ("#7f7f7f", "#b58900", "#a8a29e")
_NEAR: Final = 3.0  # times the models' own range; a baseline farther away would press their curves flat


class Panel(NamedTuple):
    """The curves of one metric.

    Attributes
    ----------
    title
        Name of the metric, which direction is better, and the results outside of the range.
    low, high
        The range to show.
    """

    title: str
    curves: list[Curve]
    low: float
    high: float


def colours(report: Findings) -> dict[str, str]:
    """Return the colour of each result: models in strong colours, baselines in quiet ones."""
    counts = {"model": 0, "other": 0}
    found = {}
    for each in report.results:
        kind = "model" if each.kind == "model" else "other"
        palette = _MODELS if kind == "model" else _OTHERS
        found[each.name] = palette[counts[kind] % len(palette)]
        counts[kind] += 1
    return found


def panel(report: Findings, name: str) -> Panel | None:
    """Return what to draw of a metric; `None` if no model has values of it along the rows."""
    models = [each for each in report.curves if each.kind == "model"]
    values = [value for each in models for value in _later(each, name, recent=True)]
    if not values:
        return None
    low, high = min(values), max(values)
    reach = _NEAR * ((high - low) or abs(high) * 0.05 or 1.0)
    curves, outside = [], []
    for each in report.curves:
        its = _later(each, name, recent=False)
        if not its:
            continue
        if each.kind == "model" or (min(its) >= low - reach and max(its) <= high + reach):
            curves.append(each)
        else:
            outside.append(f"{each.name} {its[-1]:.4g}")
    values += [value for each in curves for value in _later(each, name, recent=False)]
    low, high = min(values), max(values)
    room = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    better = "higher is better" if report.bigger_is_better[name] else "lower is better"
    beyond = f"; outside: {', '.join(outside)}" if outside else ""
    return Panel(f"{name} ({better}{beyond})", curves, low - room, high + room)


def _later(curve: Curve, name: str, *, recent: bool) -> list[float]:
    """Return a curve's values without its first twentieth, in which anything can happen."""
    later = slice(len(curve.rows) // 20, None)
    several = (curve.since_beginning[name], curve.recent[name]) if recent else (curve.since_beginning[name],)
    return [value for values in several for value in values[later] if value is not None]
