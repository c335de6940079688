"""Report of versions that were evaluated on a range of the log: plain values, and their words."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from millstream.evaluation.compare.report import LossUsed
from millstream.evaluation.findings import Findings
from millstream.evaluation.report import Shown
from millstream.evaluation.text import Block, Words, intervals, number, tables, verdicts


class EvaluatedVersion(msgspec.Struct, frozen=True):
    """One version.

    Attributes
    ----------
    seen
        Number of the measured examples that it has learned.
    tested
        Number of those on which its job has tested it before it was deployed: it has not learned them, but it may serve
        because of them.
    rank
        1 plus the number of versions that are clearly better; `None` if it has seen an example.
    """

    version: str
    made_at_ms: int | None
    seen: int
    tested: int
    rank: int | None


class VersionReport(Shown, frozen=True, kw_only=True):
    """Versions on the labelled examples of a range of the log, beside what was served then.

    Attributes
    ----------
    begin, end
        The range, in offsets of the examples log.
    from_ms, to_ms
        Broker's times of its first and last measured label.
    ranked_by
        Name of the loss or metric.
    unseen_from
        First offset from which on none of the versions has learned anything; `None` if there is none in the range.
    served
        Number of examples that were answered when they came.
    """

    versions: list[EvaluatedVersion]
    begin: int
    end: int
    from_ms: int
    to_ms: int
    loss: LossUsed | None
    ranked_by: str
    unseen_from: int | None
    served: int

    @property
    def unit(self) -> str:
        return "examples"

    @property
    def curves_title(self) -> str:
        return "Along the range"

    def words(self) -> Words:
        return Words(f"Versions on {self.on}", self._heading(), list(verdicts(self)), list(self._tables()),
                     list(self._remarks()))  # fmt: skip

    def _heading(self) -> str:
        return (
            f"{self.on}: offsets {self.begin:,} to {self.end:,}, {self.measured:,} labelled examples, "
            f"{_utc(self.from_ms)} to {_utc(self.to_ms)} UTC"
        )

    def _tables(self) -> Iterator[Block]:
        found = iter(tables(self))
        yield _with_ranks(next(found), self, {each.version: each for each in self.versions})
        yield from found

    def _remarks(self) -> Iterator[str]:
        seen = [each for each in self.versions if each.seen]
        if seen:
            yield f"seen: {', '.join(_seen(each, self.measured) for each in seen)}; figures on learned examples flatter"
            if self.unseen_from is not None:
                yield f"to rank all of them, begin behind what they have learned: --from {self.unseen_from}"
        for each in self.versions:
            if each.tested:
                yield (
                    f"note: {each.version} was tested on {each.tested:,} of these examples when it was trained: it has "
                    "not learned them, but was chosen by them"
                )
        ranked = [each for each in self.versions if each.rank is not None]
        if len(ranked) > 1:
            yield (f"rank: by {self.ranked_by}; versions whose difference is not clear share a rank")
        if self.served < self.measured:
            yield f"as served: {self.served:,} of these examples were answered when they came"
        if self.loss is not None:
            yield f"loss: {self.loss.name}; an event without an answer costs {number(self.loss.bound)}"
        for refused in self.refused:
            yield f"{refused.count:,} records were not measured; the first:"
            yield from (f"  {where}: {reason}" for where, reason in refused.first.items())
        yield from (f"note: {note}" for note in self.notes)
        yield intervals(self)


def _with_ranks(block: Block, report: Findings, versions: dict[str, EvaluatedVersion]) -> Block:
    rows = []
    for result, row in zip(report.results, block.rows, strict=True):
        found = versions.get(result.name)
        rank = "" if found is None else "seen" if found.rank is None else str(found.rank)
        rows.append([row[0], rank, *row[1:]])
    return Block(block.title, [block.columns[0], "rank", *block.columns[1:]], rows)


def _seen(each: EvaluatedVersion, measured: int) -> str:
    return f"{each.version} has learned {'all' if each.seen == measured else f'{each.seen:,}'} of them"


def _utc(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
