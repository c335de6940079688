"""Parts of a judgement, and of the windows that were judged, that rules need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from schemas.profiles import Window


class Found(Protocol):
    """One finding that has not ended: what differs from the reference. Times in ms."""

    @property
    def check(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def since_ms(self) -> int: ...
    @property
    def text(self) -> str: ...


class Judged(Protocol):
    """The judgement of one bucket of the broker's time, which ended at `at_ms`."""

    @property
    def at_ms(self) -> int: ...
    @property
    def findings(self) -> Sequence[Found]: ...


class History(Protocol):
    """The windows that were judged."""

    def knows(self, at_ms: int) -> bool:
        """Return whether a window begins at a time or before."""

    def windows(self, since_ms: int, until_ms: int) -> Sequence[Window]:
        """Return the windows that begin in a stretch of the broker's time, without `until_ms` itself."""


class ServedValue(Protocol):
    """A metric of served answers, and the number of labels that it comes from."""

    @property
    def value(self) -> float: ...
    @property
    def count(self) -> int: ...


class ServedValues(Protocol):
    """Returns the metrics of the served answers of windows, by name; a metric that is undefined is left out."""

    def __call__(self, windows: Sequence[Window], /) -> Mapping[str, ServedValue]: ...
