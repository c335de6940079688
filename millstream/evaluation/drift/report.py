"""Report of drift: plain values, and their words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from math import isnan
from typing import Any

import msgspec

from consumers.monitor.profiles import distinct, quantiles
from consumers.monitor.profiles.categories import most_frequent
from millstream.evaluation.drift.collect import Collected
from millstream.evaluation.text import Block, Words
from millstream.reading.timestamps import utc
from schemas.profiles import Profile


class Summary(msgspec.Struct, frozen=True):
    """One value's distribution in a few numbers; shares are of the events, `None` where there is none.

    Attributes
    ----------
    quartiles
        The 25, 50 and 75 % quantiles.
    categories
        Shares of the five most frequent categories.
    """

    events: int
    missing: float
    distinct: float | None
    mean: float | None
    deviation: float | None
    least: float | None
    most: float | None
    quartiles: list[float] | None
    categories: dict[str, float]

    @classmethod
    def of(cls, profile: Profile) -> Summary:
        """Return the summary of a profile."""
        values = sum(profile.types.values())
        events = values + profile.missing
        numbers = profile.numbers
        return cls(
            events,
            profile.missing / events if events else 0.0,
            None if isnan(different := distinct(profile)) else different,
            None if numbers is None else numbers.mean,
            None if numbers is None else (numbers.squares / max(numbers.count - 1, 1)) ** 0.5,
            None if numbers is None else numbers.least,
            None if numbers is None else numbers.most,
            None if numbers is None else quantiles(numbers, [0.25, 0.5, 0.75]).tolist(),
            {name: count / values for name, count in most_frequent(profile.categories, 5).items()},
        )


class DriftReport:
    """Reference against now.

    Parameters
    ----------
    only
        The one value to show, such as ``feature:amount``; by default all.
    """

    def __init__(self, stream: str, collected: Collected, only: str | None = None) -> None:
        self.stream, self.collected = stream, collected
        shown = [only] if only is not None else [*collected.now, *(set(collected.reference) - set(collected.now))]
        alarming = [each.subject for each in collected.findings]
        self.subjects = sorted(shown, key=lambda name: (name not in alarming, name))
        self.findings = [each for each in collected.findings if only is None or only in _parts(each.subject)]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values; times are ms since 1970."""
        there = self.collected
        return {
            "stream": self.stream,
            "reference": {"from": there.reference_from_ms, "to": there.reference_to_ms},
            "now": {"from": there.now_from_ms, "to": there.now_to_ms},
            "note": there.note,
            "findings": [asdict(each) for each in self.findings],
            "values": {
                name: {
                    "reference": _summary(there.reference.get(name)),
                    "now": _summary(there.now.get(name)),
                }
                for name in self.subjects
            },
        }

    def words(self) -> Words:
        """Return the report in words and tables."""
        there = self.collected
        verdicts = [self._verdict()]
        if there.note:
            verdicts.append(f"note: {there.note}")
        tables = [self.findings_table()] if self.findings else []
        tables.append(self.values_table())
        heading = f"{self.stream}: {between(there.now_from_ms, there.now_to_ms)}, against {self._reference()}"
        return Words(f"Drift of {self.stream}", heading, verdicts, tables, list(self._remarks()))

    def _verdict(self) -> str:
        found = len([each for each in self.findings if each.until_ms is None])
        if not self.findings:
            return "no drift found"
        if not found:
            return f"no drift now; {len(self.findings)} findings have ended"
        return "1 finding" if found == 1 else f"{found} findings"

    def _reference(self) -> str:
        there = self.collected
        if not there.reference_to_ms:
            return "no reference yet"
        return f"the reference {between(there.reference_from_ms, there.reference_to_ms)}"

    def findings_table(self) -> Block:
        """Return the table of findings."""
        rows = [
            [
                each.subject,
                each.check,
                _number(each.value),
                _number(each.usual),
                _number(each.threshold),
                utc(each.since_ms),
                "" if each.until_ms is None else utc(each.until_ms),
            ]
            for each in self.findings
        ]
        return Block("Findings", ["value of", "check", "now", "usually", "±", "since (UTC)", "until"], rows)

    def values_table(self) -> Block:
        """Return the table of all values, those with a finding first."""
        found = {each.subject for each in self.findings if each.until_ms is None}
        rows = []
        for name in self.subjects:
            before, now = self.collected.reference.get(name), self.collected.now.get(name)
            rows.append([name, *map(_spoken, (before, now)), "yes" if name in found else ""])
        return Block("Values", ["value of", "reference", "now", "drift"], rows)

    def _remarks(self) -> Iterator[str]:
        yield "± is how far a value may be from the usual before it counts as drift; see docs/monitoring.md"
        yield "values that have drifted stay compared with the reference of the time when it was found"


def _parts(subject: str) -> Sequence[str]:
    return [subject, *(f"feature:{name}" for name in subject.split(" ~ "))]


def _summary(profile: Profile | None) -> dict[str, Any] | None:
    return None if profile is None else msgspec.structs.asdict(Summary.of(profile))


def _spoken(profile: Profile | None) -> str:
    """Return a distribution in a few words."""
    if profile is None:
        return "–"
    it = Summary.of(profile)
    said = []
    if it.mean is not None and it.deviation is not None and it.quartiles is not None:
        said.append(f"{_number(it.mean)} ± {_number(it.deviation)}, median {_number(it.quartiles[1])}")
    elif it.categories:
        said += [f"{name[:24]} {share:.1%}" for name, share in list(it.categories.items())[:3]]
    if it.missing:
        said.append(f"missing {it.missing:.1%}")
    return ", ".join(said) or ("counted" if it.distinct is None else f"{it.distinct:.0f} distinct")


def _number(value: float) -> str:
    return f"{value:.4g}"


def between(since_ms: int, until_ms: int) -> str:
    """Return a stretch of time as text, in UTC."""
    begin, end = utc(since_ms), utc(until_ms)
    return f"{begin} to {end.removeprefix(begin[:11])} UTC"
