"""Pictures of drift as SVG: distribution of the reference and of now, and a value over time."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

import numpy as np

from consumers.monitor.profiles import quantiles, share_up_to
from millstream.reading.timestamps import utc
from schemas.profiles import Numbers, Profile

_WIDTH, _HEIGHT = 640, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 14, 10, 26
_BARS: Final = 24
_MOST_CATEGORIES: Final = 8
_BAND: Final = (0.05, 0.5, 0.95)


def distribution(name: str, before: Profile | None, now: Profile | None) -> str:
    """Return the picture of a value's distribution, or nothing if it has none to show."""
    numbers = [each.numbers if each is not None else None for each in (before, now)]
    known = [each for each in numbers if each is not None and each.count]
    if known:
        return _histogram(name, numbers, known)
    if any(each is not None and each.categories for each in (before, now)):
        return _categories(name, before, now)
    return ""


def _histogram(name: str, numbers: Sequence[Numbers | None], known: Sequence[Numbers]) -> str:
    ends = [quantiles(each, [0.01, 0.99]) for each in known]
    low, high = float(min(each[0] for each in ends)), float(max(each[1] for each in ends))
    if high <= low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, _BARS + 1)
    shares = [None if each is None or not each.count else np.diff(share_up_to(each, edges)) for each in numbers]
    most = max(float(each.max()) for each in shares if each is not None) or 1.0
    parts = [_axis(low, high)]
    for kind, each in zip(("before", "now"), shares, strict=True):
        if each is not None:
            points = [(edges[0], 0.0)]
            for number, share in enumerate(each.tolist()):
                points += [(edges[number], share), (edges[number + 1], share)]
            points.append((edges[-1], 0.0))
            parts.append(_line(kind, [(_across(x, low, high), _down(y, 0, most)) for x, y in points]))
    return _picture(f"distribution of {name}", parts)


def _categories(name: str, before: Profile | None, now: Profile | None) -> str:
    shares = [_shares(each) for each in (before, now)]
    names = sorted({key for each in shares for key in each}, key=lambda key: (-max(s.get(key, 0) for s in shares), key))
    names = names[:_MOST_CATEGORIES]
    height = (_HEIGHT - _TOP - _BOTTOM) / max(len(names), 1)
    left, room = 150, _WIDTH - 150 - 70
    parts = []
    for number, key in enumerate(names):
        top = _TOP + number * height
        shown = key if len(key) <= 18 else f"{key[:17]}…"
        parts.append(f'<text x="{left - 8}" y="{top + height / 2 + 4:.1f}" text-anchor="end">{escape(shown)}</text>')
        for place, (kind, each) in enumerate(zip(("before", "now"), shares, strict=True)):
            share = each.get(key, 0.0)
            y, tall = top + height * (0.12 + 0.4 * place), height * 0.36
            parts.append(
                f'<rect class="{kind}" x="{left}" y="{y:.1f}" width="{room * share:.1f}" height="{tall:.1f}"/>'
            )
        told = " → ".join(f"{each.get(key, 0):.0%}" for each in shares)
        most = max(each.get(key, 0.0) for each in shares)
        parts.append(f'<text x="{left + room * most + 6:.1f}" y="{top + height / 2 + 4:.1f}">{told}</text>')
    return _picture(f"categories of {name}", parts)


def _shares(profile: Profile | None) -> dict[str, float]:
    if profile is None:
        return {}
    total = max(sum(profile.categories.values()) + profile.rest, 1)
    return {key: count / total for key, count in profile.categories.items()}


def time_line(
    name: str, parts: Sequence[tuple[int, int, Profile]], reference: tuple[int, int], since_ms: int | None
) -> str:
    """Return the picture of a value over time: 5, 50, 95 % of numbers, or the share of the most frequent category.

    Parameters
    ----------
    parts
        Begin, end (ms) and profile of each window, in order.
    reference
        Begin and end (ms) of the reference, which is shaded.
    since_ms
        Begin of the finding; `None` without one.
    """
    if len(parts) < 2:
        return ""
    first, last = parts[0][0], parts[-1][1]
    rows = [(begin, end, quantiles(each.numbers, _BAND)) for begin, end, each in parts if each.numbers is not None]
    title = f"{name} over time: median, and 5 to 95 %"
    if not rows:
        title = f"{name} over time: share of the most frequent category"
        top = _most_frequent(parts)
        rows = [(begin, end, np.full(3, _shares(each).get(top, 0.0))) for begin, end, each in parts]
    low, high = min(float(row[2][0]) for row in rows), max(float(row[2][2]) for row in rows)
    if high <= low:
        low, high = low - 0.5, high + 0.5

    def place(at: float, value: float) -> tuple[float, float]:
        return _across(at, first, last), _down(value, low, high)

    begin, end = (max(_across(min(max(each, first), last), first, last), _LEFT) for each in reference)
    tall = _HEIGHT - _TOP - _BOTTOM
    shaded = f'<rect class="shade" x="{begin:.1f}" y="{_TOP}" width="{end - begin:.1f}" height="{tall}"/>'
    middles = [((start + stop) / 2, values) for start, stop, values in rows]
    band = [place(at, values[2]) for at, values in middles] + [place(at, values[0]) for at, values in reversed(middles)]
    drawn = [shaded, f'<polygon class="band" points="{_points(band)}"/>']
    drawn.append(_line("now", [place(at, values[1]) for at, values in middles]))
    if since_ms is not None and first <= since_ms <= last:
        x = _across(since_ms, first, last)
        drawn.append(f'<line class="since" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
    for value in (low, high):
        drawn.append(
            f'<text x="{_LEFT - 8}" y="{_down(value, low, high) + 4:.1f}" text-anchor="end">{value:.4g}</text>'
        )
    drawn.append(f'<text x="{_LEFT}" y="{_HEIGHT - 6}">{utc(first)}</text>')
    drawn.append(f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 6}" text-anchor="end">{utc(last)}</text>')
    return _picture(title, drawn)


def _most_frequent(parts: Sequence[tuple[int, int, Profile]]) -> str:
    totals: dict[str, int] = {}
    for _, _, each in parts:
        for key, count in each.categories.items():
            totals[key] = totals.get(key, 0) + count
    return max(totals, key=lambda key: (totals[key], key), default="")


def _across(value: float, low: float, high: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (value - low) / (high - low)


def _down(value: float, low: float, high: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - value) / (high - low)


def _axis(low: float, high: float) -> str:
    texts = []
    for number, anchor in ((0, "start"), (2, "middle"), (4, "end")):
        value = low + (high - low) * number / 4
        texts.append(
            f'<text x="{_across(value, low, high):.1f}" y="{_HEIGHT - 6}" text-anchor="{anchor}">{value:.4g}</text>'
        )
    base = _HEIGHT - _BOTTOM
    return f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{base}" y2="{base}"/>{"".join(texts)}'


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _line(kind: str, places: Sequence[tuple[float, float]]) -> str:
    return f'<polyline class="{kind}" fill="none" points="{_points(places)}"/>'


def _picture(title: str, parts: Sequence[str]) -> str:
    size = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(title)}">'
        f'<svg {size} role="img" aria-label="{escape(title)}">{"".join(parts)}</svg></div>'
        f'<p class="soft">{escape(title)}</p>'
    )
