"""The table of roles: what each reads, writes and may do, how it is started, and in which order roles end.

Every other place reads this table: access rights, `millstream status`, `run`, metrics, the reference of topics.
Read `TABLE` when it is needed, not at import: `docs/architecture.md` says how a role is added.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from schemas.topics import Names

PREDICTOR: Final = "predictor"
INTAKE: Final = "intake"
JOINER: Final = "joiner"
LEARNER: Final = "learner"

WHOLE: Final = "whole"
"""In place of a kind of topic: the one that has whole predictions, whichever that is for a stream."""


@dataclass(frozen=True)
class Role:
    """One role. Topics are named by their kinds, see `schemas.topics.KINDS`.

    Attributes
    ----------
    name
        It is also the command, the end of its consumer group's name, and the label of its metrics.
    stops
        Roles end in the order of these numbers: what is under way goes on to those after it.
    onward
        How an operator has it go on where a topic is not what it was when the role left it.
    reads
        What its consumer group reads and has a lag in.
    follows
        What it reads beside that without a group. Of alerts, what stands: a role raises none twice.
    writes
        What it writes.
    reads_label_topics
        Its group also reads the topics of others that labels come from.
    sees
        Roles whose committed offsets it looks at.
    asked_for
        Tells whether a stream has this role; `None` where every stream does.
    done
        What it has done with a record that it has read, as a person says it.
    """

    name: str
    stops: int
    onward: str
    reads: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    reads_label_topics: bool = False
    sees: tuple[str, ...] = ()
    asked_for: Callable[[Names], bool] | None = None
    done: str = "done"

    @property
    def optional(self) -> bool:
        """Whether it runs only for a stream that asks for it."""
        return self.asked_for is not None

    def runs_for(self, names: Names) -> bool:
        """Tell whether the stream of these names has this role."""
        return self.asked_for is None or self.asked_for(names)

    def command(self, stream: str, instance: str) -> tuple[str, ...]:
        """Return what follows `millstream` on the command line of one of its processes."""
        return self.name, stream, "--instance", instance


# In the order of an event's way, in which roles are started and shown.
TABLE: tuple[Role, ...] = (
    Role(
        PREDICTOR,
        stops=10,
        reads=("features",),
        follows=("models", "alerts"),
        writes=("predictions", WHOLE, "dead-letters", "alerts"),
        # Over how many partitions event ids are spread is noted beside the offsets of predictor and joiner.
        sees=(JOINER,),
        done="answered",
        onward="`millstream predictor {stream} --new-epoch fresh` goes on at its last place that is known, "
        "else at what the topic holds now",
    ),
    Role(
        INTAKE,
        stops=20,
        follows=("alerts",),
        writes=("labels", "dead-letters", "alerts"),
        reads_label_topics=True,
        sees=(JOINER, PREDICTOR),
        asked_for=lambda names: bool(names.labels_from),
        done="taken in",
        onward="`millstream intake {stream} --new-epoch fresh` goes on at its last places that are known, "
        "else at what the topics hold now",
    ),
    Role(
        JOINER,
        stops=30,
        reads=(WHOLE, "labels"),
        follows=("alerts",),
        # Labels on the wrong partition are put on the right one, and ticks end waits.
        writes=("examples", "labels", "dead-letters", "alerts"),
        sees=(PREDICTOR,),
        onward="`millstream joiner {stream} --new-epoch fresh` goes on at what the topics hold now",
    ),
    Role(
        LEARNER,
        stops=40,
        reads=("examples",),
        follows=("models", "alerts"),
        writes=("models", "dead-letters", "alerts"),
        onward="`millstream learner {stream} --new-epoch keep` goes on without what is gone",
    ),
)


def named(name: str) -> Role:
    """Return the role of this name. KeyError where there is none."""
    for role in TABLE:
        if role.name == name:
            return role
    raise KeyError(name)


def names_of_all() -> tuple[str, ...]:
    """Return the names of all roles, in the order in which they are started."""
    return tuple(role.name for role in TABLE)


def stopping_order() -> tuple[str, ...]:
    """Return the names of all roles, those first that are ended first."""
    return tuple(role.name for role in sorted(TABLE, key=lambda role: role.stops))


def of_stream(names: Names) -> tuple[Role, ...]:
    """Return the roles that the stream of these names has."""
    return tuple(role for role in TABLE if role.runs_for(names))
