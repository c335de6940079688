"""Results of judging: findings, and what a judgement asks to be written."""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas.profiles import Window


@dataclass(frozen=True)
class Finding:
    """A value that differs from the reference by more than chance and more than the least size.

    Attributes
    ----------
    check
        missing, types, mean, spread, quantiles, range, distinct, constant, categories, new categories, correlation,
        errors or detector.
    subject
        Kind and name as in a window, such as ``feature:amount``; ``a ~ b`` for a pair; ``errors``.
    value, usual, threshold
        The value of the newest judged bucket, what it is in the reference, and how far it may be from that.
    since_ms
        Start (ms, the broker's time) of the first bucket in which the value was beyond its threshold.
    text
        One line for people, without any value of a private feature.
    until_ms
        End of the last bucket beyond the threshold, once the finding is over; `None` while it is open.
    span
        Length (ms) of the bucket in which the value was found: a window, an hour or a day.
    by_size
        True if the reference was too short for a threshold, so that the size of the effect alone was judged.
    """

    check: str
    subject: str
    value: float
    usual: float
    threshold: float
    since_ms: int
    text: str
    until_ms: int | None = None
    span: int = 0
    by_size: bool = False


@dataclass(frozen=True)
class Judgement:
    """Result of judging the newest closed buckets.

    Attributes
    ----------
    at_ms
        End (ms, the broker's time) of the newest bucket of the window's kind that was judged; 0 if none was. Other
        kinds may be hours ahead, because each topic is read at its own pace.
    findings
        All open findings, the oldest first, then by subject and check.
    merged
        Hours and days to be written to the profiles topic.
    tombstones
        Keys of windows that the profiles topic no longer needs.
    ended
        Findings that ended with this judgement.
    note
        Why findings are less sharp than they will be, such as a reference that is too short; otherwise empty.
    """

    at_ms: int
    findings: list[Finding]
    merged: list[Window]
    tombstones: list[bytes]
    ended: list[Finding] = field(default_factory=list)
    note: str = ""
