"""Served metrics beside the baselines at the end of `millstream publish`, once its labels are learned."""

from __future__ import annotations

import time
from typing import Any, Final

import msgspec

from consumers.model.quality import Quality
from consumers.roles import LEARNER
from millstream.status.caught_up import caught_up
from millstream.status.report import served
from millstream.status.snapshot import Observer
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.errors import NotAuthorizedError
from schemas.topics import Names

LEAST_LABELS: Final = 100  # below which a comparison with a baseline says little
_LOOK_S: Final = 0.25


class PublishedQuality(msgspec.Struct, frozen=True, kw_only=True):
    """Quality of the served answers after labels were published.

    Attributes
    ----------
    labels
        Number of labels that were published.
    learned
        True if all that was on the topics is learned, and in the newest version.
    quality
        Over the window of the newest version; `None` if nothing can be compared yet.
    no_learner
        True if no learner runs, so that no metric changes.
    """

    labels: int
    learned: bool = False
    quality: Quality | None = None
    no_learner: bool = False

    @property
    def enough(self) -> bool:
        """Whether there are enough labels to compare by."""
        return self.labels >= LEAST_LABELS

    def text(self, stream: str, waited_seconds: float) -> str:
        """Return a line for people."""
        if not self.enough:
            return (
                f"served metrics: {self.labels:,} labels are too few to compare with a baseline, {LEAST_LABELS} are not"
            )
        if self.no_learner:
            return "served metrics: none, as no learner runs; `millstream run` starts one"
        if self.quality is None:
            return f"served metrics: none within {waited_seconds:g} s; `millstream status {stream}` shows them"
        late = "" if self.learned else f"; not all labels were learned within {waited_seconds:g} s"
        of = f"over the newest {self.quality.labels:,} labels"
        return f"served metrics: {of}: {'; '.join(map(str, self.quality.metrics))}{late}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


def quality_of_published(cluster: Cluster, names: Names, labels: int, seconds: float) -> PublishedQuality | None:
    """Wait until published labels are learned, at most `seconds`; return `None` if this user may not see that."""
    if labels < LEAST_LABELS:
        return PublishedQuality(labels=labels)
    deadline = time.monotonic() + seconds
    try:
        with Observer(cluster, names) as observer:
            while True:
                snapshot = observer.look()
                if not snapshot.members.get(LEARNER):
                    return PublishedQuality(labels=labels, no_learner=True)
                learned = caught_up(snapshot)
                if learned or time.monotonic() > deadline:
                    return PublishedQuality(labels=labels, learned=learned, quality=served(snapshot).quality)
                time.sleep(_LOOK_S)
    except NotAuthorizedError:
        return None
