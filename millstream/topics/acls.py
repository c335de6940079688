"""Minimal rights of each role and each other principal on a cluster with access control.

No role may write both labels and model updates: a principal with both rights could teach a model anything and serve it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from consumers import roles
from consumers.roles import Role
from schemas.topics import COMPARED, KINDS, METRICS, Names

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


PUBLISHER: Final = "publisher"
OPERATOR: Final = "operator"
# Principals besides the roles: a sender of events and labels, an operator with the commands. `millstream import` has
# the rights of the role that imports uploads.
_READS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {PUBLISHER: (), OPERATOR: (*KINDS, roles.WHOLE, *COMPARED)}
)
_WRITES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {PUBLISHER: ("features", "labels"), OPERATOR: ("models", "decisions", "alerts", "jobs")}
)


def principals() -> tuple[str, ...]:
    """Return all principals that have rights: the roles and the others."""
    return (*roles.names_of_all(), *_READS)


def reads() -> dict[str, tuple[str, ...]]:
    """Return the kinds of topics that each principal reads; an intake also reads the topics that labels come from."""
    return {**{role.name: _read_by(role) for role in roles.TABLE}, **_READS}


def _read_by(role: Role) -> tuple[str, ...]:
    return (*role.reads, *role.follows, *((METRICS,) if role.reads_metric_topics else ()))


def writes() -> dict[str, tuple[str, ...]]:
    """Return the kinds of topics that each principal writes."""
    return {**{role.name: (*role.writes, *role.writes_if_compared) for role in roles.TABLE}, **_WRITES}


def _topics(names: Names, kinds: Iterable[str]) -> list[str]:
    """Return the topics of these kinds; ``whole`` is the topic of whole predictions."""
    return [names.whole if kind == roles.WHOLE else names.topic(kind) for kind in kinds]


def rights(names: Names, principal: str) -> list[Right]:
    """Return the rights that a principal needs; none for an optional role that the stream does not have."""
    role = next((each for each in roles.TABLE if each.name == principal), None)
    if role is not None and not role.runs_for(names):
        return []
    # Without this right on all topics, a role cannot distinguish a missing topic from a forbidden one.
    found = [Right("topic", topic, "Describe") for topic in _topics(names, names.kinds)]
    absent = {*(() if names.models else COMPARED), *(() if names.takes_metrics else (METRICS,))}
    read = [kind for kind in reads()[principal] if kind not in absent]
    found += [Right("topic", topic, "Read") for topic in _topics(names, read)]
    # No role writes to an external topic.
    unused = () if role is None or names.models else role.writes_if_compared
    written = [kind for kind in writes()[principal] if kind not in {*names.elsewhere, *unused, *absent}]
    found += [Right("topic", topic, "Write") for topic in _topics(names, written)]
    if role is not None:
        found += _of_a_role(names, role)
    elif principal == OPERATOR:
        found += [Right("topic", topic, "Describe") for topic in names.labels_from]
        found += [Right("group", names.group(each), "Describe") for each in roles.names_of_all(names)]
        found += [Right("topic", names.topic(kind), "DescribeConfigs") for kind in names.kinds]
    return sorted(set(found))


def _of_a_role(names: Names, role: Role) -> list[Right]:
    # A role that runs on demand commits its place in a group of its own, named after its instance.
    found = _in_group(names, role.name, prefixed=role.on_demand) if role.commits else []
    # The learners of all models have the same user: they write the same topics.
    for model in roles.models_that_learn(names) if role.per_model else ():
        found += _in_group(names, role.of_model(model).name)
    for each in role.commits_as:
        found += _in_group(names, each, prefixed=True)
    seen = [each.name for each in roles.of_models(names) if roles.kind_of_role(each.name) in role.sees]
    found += [Right("group", names.group(each), "Describe") for each in seen]
    if any(roles.named(each).reads_label_topics for each in role.sees):
        found += [Right("topic", topic, "Describe") for topic in names.labels_from]
    if role.reads_label_topics:
        found += [Right("topic", topic, each) for topic in names.labels_from for each in ("Describe", "Read")]
    if role.reads_metric_topics:
        found += [Right("topic", topic, each) for topic in names.metrics_from for each in ("Describe", "Read")]
    return found


def _in_group(names: Names, name: str, *, prefixed: bool = False) -> list[Right]:
    """Return the rights to a group, and to the transactional ids of its processes, one for each process."""
    ids = names.process(name, "")
    return [
        Right("group", names.group(name), "Read", prefixed=prefixed),
        Right("transactional-id", ids, "Write", prefixed=True),
        Right("transactional-id", ids, "Describe", prefixed=True),
    ]
