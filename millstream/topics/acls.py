"""Access rights of each role on a cluster with access control: the fewest that it needs.

No role may write both labels and model updates: with both rights one could teach a model anything and serve it.
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
    """One right of a principal.

    Attributes
    ----------
    prefixed
        `name` is a prefix of the resources' names.
    """

    resource: Resource
    name: str
    operation: Operation
    prefixed: bool = False


READS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        # Roles read the alerts in force, so that none is raised twice.
        "predictor": ("features", "models", "alerts"),
        "intake": ("alerts",),  # and the external topics of labels
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
        # The joiner forwards labels from a wrong partition, and writes ticks to end waits.
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
    """Return topics of these kinds; ``whole`` is the topic of whole predictions."""
    return [names.whole if kind == "whole" else names.topic(kind) for kind in kinds]


def rights(names: Names, role: str) -> list[Right]:
    """Return the rights that a role needs; an intake needs none if no labels come from external topics.

    `operator` is a person with the commands, `importer` is `millstream import`.
    """
    if role == "intake" and not names.labels_from:
        return []
    # Without this right on all topics, a role cannot distinguish a missing topic from a forbidden one.
    found = [Right("topic", topic, "Describe") for topic in _topics(names, names.kinds)]
    found += [Right("topic", topic, "Read") for topic in _topics(names, READS[role])]
    # No role writes to an external topic.
    written = [kind for kind in WRITES[role] if kind not in names.elsewhere]
    found += [Right("topic", topic, "Write") for topic in _topics(names, written)]
    if role in ("intake", "operator"):
        found += [Right("topic", topic, "Describe") for topic in names.labels_from]
    if role == "intake":
        found += [Right("topic", topic, "Read") for topic in names.labels_from]
    if role in _WITH_GROUP:
        ours = "import" if role == "importer" else role
        found.append(Right("group", names.group(ours), "Read", prefixed=role == "importer"))
        # Each process of the role has its own id.
        ids = names.process(ours, "")
        found += [Right("transactional-id", ids, each, prefixed=True) for each in ("Write", "Describe")]
    if role in ("predictor", "intake", "joiner"):
        # The metadata of these groups' offsets holds the number of partitions that event ids are spread over.
        found += [Right("group", names.group(each), "Describe") for each in ("joiner", "predictor") if each != role]
    if role == "operator":
        found += [Right("group", names.group(each), "Describe") for each in _OBSERVED]
        found += [Right("topic", names.topic(kind), "DescribeConfigs") for kind in names.kinds]
    return sorted(set(found))
