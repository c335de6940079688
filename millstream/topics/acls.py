"""What each role may do on a cluster with access control, and no more.

No role may write both labels and model updates: who could, could teach a model anything and then serve it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from schemas.topics import KINDS, Names

Resource = Literal["topic", "group", "transactional-id"]
Operation = Literal["Read", "Write", "Describe", "Create", "Delete", "Alter", "DescribeConfigs", "AlterConfigs"]


@dataclass(frozen=True, order=True)
class Right:
    """One thing that a principal may do.

    Attributes
    ----------
    prefixed
        `name` is the beginning of the names that are meant.
    """

    resource: Resource
    name: str
    operation: Operation
    prefixed: bool = False


READS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        # Of alerts, what stands: a role raises none twice.
        "predictor": ("features", "models", "alerts"),
        "intake": ("alerts",),  # and the topics that labels come from
        "joiner": ("whole", "labels", "alerts"),
        "learner": ("examples", "models", "alerts"),
        "publisher": (),
        "importer": ("examples",),
        "operator": (*KINDS, "whole"),
    }
)
WRITES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "predictor": ("predictions", "whole", "dead-letters", "alerts"),
        "intake": ("labels", "dead-letters", "alerts"),
        # Labels that stand on the wrong partition are put on the right one, and ticks end waits.
        "joiner": ("examples", "labels", "dead-letters", "alerts"),
        "learner": ("models", "dead-letters", "alerts"),
        "publisher": ("features", "labels"),
        "importer": ("examples",),
        "operator": ("models", "decisions"),
    }
)
ROLES: Final = tuple(READS)
_OBSERVED: Final = ("predictor", "intake", "joiner", "learner")
_WITH_GROUP: Final = ("predictor", "intake", "joiner", "learner", "importer")


def _topics(names: Names, kinds: Iterable[str]) -> list[str]:
    """Return topics of these kinds; ``whole`` is the one that has whole predictions."""
    return [names.whole if kind == "whole" else names.topic(kind) for kind in kinds]


def rights(names: Names, role: str) -> list[Right]:
    """Return what a role needs: an intake nothing, where labels come from no topic of others.

    `operator` is a person with the commands, `importer` is `millstream import`.
    """
    if role == "intake" and not names.labels_from:
        return []
    # A role tells a topic that is missing from one that it may not know only where it may know all.
    found = [Right("topic", topic, "Describe") for topic in _topics(names, names.kinds)]
    found += [Right("topic", topic, "Read") for topic in _topics(names, READS[role])]
    # Nobody writes to a topic of somebody else's.
    written = [kind for kind in WRITES[role] if kind not in names.elsewhere]
    found += [Right("topic", topic, "Write") for topic in _topics(names, written)]
    if role in ("intake", "operator"):
        found += [Right("topic", topic, "Describe") for topic in names.labels_from]
    if role == "intake":
        found += [Right("topic", topic, "Read") for topic in names.labels_from]
    if role in _WITH_GROUP:
        ours = "import" if role == "importer" else role
        found.append(Right("group", names.group(ours), "Read", prefixed=role == "importer"))
        # One id a process of the role.
        ids = names.process(ours, "")
        found += [Right("transactional-id", ids, each, prefixed=True) for each in ("Write", "Describe")]
    if role in ("predictor", "intake", "joiner"):
        # Over how many partitions event ids are spread is noted beside the places of these two.
        found += [Right("group", names.group(each), "Describe") for each in ("joiner", "predictor") if each != role]
    if role == "operator":
        found += [Right("group", names.group(each), "Describe") for each in _OBSERVED]
        found += [Right("topic", names.topic(kind), "DescribeConfigs") for kind in names.kinds]
    return sorted(set(found))
