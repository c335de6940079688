"""Table of roles: what each reads, writes and may do, how it starts, and in which order roles end.

All other code reads this table: access rights, `millstream status`, `run`, metrics, the reference of topics.
Each of a stream's models has its own learner: that of the model `forest` is the role ``learner.forest``, a row like
that of `LEARNER`, with a group and instances of its own. Read `TABLE` at the time of use, not at import.
`docs/architecture.md` describes how to add a role.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from schemas.model_names import is_named, name_of
from schemas.topics import COMPARISONS, METRICS, PROFILES, SHADOWS

if TYPE_CHECKING:
    from schemas.topics import Names

SERVER: Final = "server"
FORWARDER: Final = "forwarder"
IMPORTER: Final = "importer"
CONSOLE: Final = "console"
PREDICTOR: Final = "predictor"
INTAKE: Final = "intake"
JOINER: Final = "joiner"
LEARNER: Final = "learner"
SHADOW: Final = "shadow"
JUDGE: Final = "judge"
REFEREE: Final = "referee"
TRAINER: Final = "trainer"
MONITOR: Final = "monitor"
NOTIFIER: Final = "notifier"

WHOLE: Final = "whole"
"""Stands for the kind of topic that holds the stream's whole predictions."""


@dataclass(frozen=True)
class Role:
    """One role. Topics are given by their kinds, see `schemas.topics.KINDS`.

    Attributes
    ----------
    name
        Also the command, the end of its consumer group's name, and the label of its metrics.
    stops
        Roles end in the order of these numbers, so that later roles still process the output of earlier ones.
    onward
        Command and effect by which an operator makes it continue although a topic is not the one that it left.
    reads
        Topics that its consumer group reads and has a lag in.
    follows
        Topics that it also reads, without a group. From alerts it reads the raised ones, so as to raise none twice.
    writes, writes_if_compared
        Topics that it writes, and further ones if the stream has several models.
    reads_metric_topics
        Its group also reads the topics of downstream metrics, external ones and the stream's own.
    reads_label_topics
        Its group also reads the external topics that labels come from.
    sees
        Roles whose committed offsets it reads.
    asked_for
        Returns whether a stream has this role; `None` if every stream does.
    on_demand
        It runs only where somebody starts it (`millstream serve`); no stream file asks for it, and it is in no group.
    commits
        It writes in transactions, and commits its place in a group with them.
    beside
        It is not part of the loop that serves and learns, which does not wait for it.
    can_be_left_out
        A run may leave it out: nobody misses it where it has never worked.
    per_model
        Each of a stream's models has its own.
    commits_as
        Beginnings of further groups and transactional ids that it commits with.
    done
        Verb for a record that it has processed, for messages.
    """

    name: str
    stops: int
    onward: str
    reads: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    writes_if_compared: tuple[str, ...] = ()
    reads_label_topics: bool = False
    reads_metric_topics: bool = False
    sees: tuple[str, ...] = ()
    asked_for: Callable[[Names], bool] | None = None
    on_demand: bool = False
    commits: bool = True
    per_model: bool = False
    beside: bool = False
    can_be_left_out: bool = False
    commits_as: tuple[str, ...] = ()
    done: str = "done"

    @property
    def optional(self) -> bool:
        """True if it runs only for a stream that asks for it."""
        return self.on_demand or self.asked_for is not None

    def runs_for(self, names: Names) -> bool:
        """Return whether the stream with these names can have this role."""
        return self.asked_for is None or self.asked_for(names)

    def command(self, stream: str, instance: str) -> tuple[str, ...]:
        """Return the arguments of `millstream` that start one of its processes."""
        role, _, model = self.name.partition(".")
        return role, stream, *(("--model", model) if model else ()), "--instance", instance

    def of_model(self, model: str) -> Role:
        """Return the row of a named model's role; with an empty name this row.

        >>> named("learner").of_model("forest").command("fraud.py", "0")
        ('learner', 'fraud.py', '--model', 'forest', '--instance', '0')
        """
        if not model:
            return self
        onward = self.onward.replace("{stream}", f"{{stream}} --model {model}")
        return replace(self, name=f"{self.name}.{model}", beside=True, onward=onward)


def _has_models(names: Names) -> bool:
    return bool(names.models)


# In the order in which an event passes the roles; they start and are shown in this order.
TABLE: tuple[Role, ...] = (
    Role(
        SERVER,
        stops=2,
        follows=("models",),
        # It holds no producer: what it answers and takes goes into the spool on its disk.
        sees=(PREDICTOR, JOINER),
        on_demand=True,
        commits=False,
        done="answered",
        onward="`millstream server {stream}` goes on",
    ),
    Role(
        FORWARDER,
        stops=4,
        # Its place is committed on a partition of this topic, which it must be allowed to read for that.
        follows=("alerts",),
        writes=("predictions", WHOLE, "labels", METRICS, "dead-letters", "alerts"),
        on_demand=True,
        done="forwarded",
        onward="`millstream forwarder {stream}` goes on",
    ),
    Role(
        IMPORTER,
        stops=6,
        # It commits its places on partitions of these topics, which it must be allowed to read for that.
        follows=("examples", "alerts"),
        writes=("examples", "dead-letters", "alerts"),
        on_demand=True,
        # An import has a group and a transactional id of its own, by its content.
        commits_as=("import",),
        done="imported",
        onward="`millstream importer {stream}` goes on",
    ),
    Role(
        CONSOLE,
        stops=7,
        # It shows all of it: status, versions, alerts, dead letters, and the way of one event.
        follows=("features", WHOLE, "labels", "examples", "models", "decisions", "alerts", "jobs", "dead-letters"),
        # Acknowledgements and silences of alerts, and wishes about jobs, beside decisions about models.
        writes=("models", "decisions", "alerts", "jobs"),
        sees=(PREDICTOR, INTAKE, JOINER, LEARNER, MONITOR),
        on_demand=True,
        commits=False,
        done="decided",
        onward="`millstream console {stream}` goes on",
    ),
    Role(
        PREDICTOR,
        stops=10,
        reads=("features",),
        follows=("models", "alerts"),
        writes=("predictions", WHOLE, "dead-letters", "alerts"),
        # The offset metadata of predictor and joiner holds the number of partitions that event ids are spread over.
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
        # It forwards labels from the wrong partition to the right one, and writes ticks, which end waits.
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
        # The decisions topic keeps every announcement, so it tells which version was known when a prediction was made.
        writes_if_compared=("decisions",),
        per_model=True,
        onward="`millstream learner {stream} --new-epoch keep` goes on without what is gone",
    ),
    Role(
        SHADOW,
        stops=50,
        reads=(WHOLE,),
        # Decisions hold all announcements of versions, of which models keeps the last.
        follows=("models", "decisions", "alerts"),
        writes=(SHADOWS, "alerts"),
        sees=(PREDICTOR, JOINER),
        asked_for=_has_models,
        beside=True,
        done="shadowed",
        onward="`millstream shadow {stream} --new-epoch fresh` goes on at its last places that are known, "
        "else at what the topic holds now",
    ),
    Role(
        JUDGE,
        stops=60,
        reads=(SHADOWS, "labels"),
        # A new judge needs no labels from long before the first announcement of a named model.
        follows=("decisions", "alerts"),
        # No labels: it waits for what the joiner forwards, and for its ticks.
        writes=(COMPARISONS, "dead-letters", "alerts"),
        sees=(PREDICTOR, JOINER),
        asked_for=_has_models,
        beside=True,
        done="compared",
        onward="`millstream judge {stream} --new-epoch fresh` goes on at what the topics hold now",
    ),
    Role(
        REFEREE,
        stops=70,
        reads=(COMPARISONS,),
        follows=("models", "alerts"),
        # Its decisions, in the same transaction as its place.
        writes=("models", "decisions", "alerts"),
        asked_for=lambda names: names.promotes,
        beside=True,
        done="counted",
        onward="`millstream referee {stream} --new-epoch fresh` begins a new contest at what the topic holds now",
    ),
    Role(
        TRAINER,
        stops=76,
        # Of alerts, those that ask for a job.
        reads=("jobs", "alerts"),
        follows=("examples", "models"),
        # Its versions, announced in the same transaction as the end of their job.
        writes=("jobs", "models", "decisions", "alerts"),
        asked_for=lambda names: bool(names.batch),
        beside=True,
        done="read",
        onward="`millstream trainer {stream} --new-epoch fresh` goes on with the jobs that are asked for from now on",
    ),
    Role(
        MONITOR,
        stops=80,
        # Its own windows too: who owns that topic judges them, those of the other monitors included.
        reads=(WHOLE, "examples", PROFILES),
        reads_metric_topics=True,
        follows=("models", "alerts"),
        # Neither labels nor examples: what watches a model may not teach it.
        writes=(PROFILES, "alerts", "models", "decisions", "jobs"),
        beside=True,
        can_be_left_out=True,
        done="watched",
        onward="`millstream monitor {stream} --new-epoch fresh` goes on at what the topics hold now",
    ),
    Role(
        NOTIFIER,
        # After all that may raise an alert.
        stops=90,
        reads=("alerts",),
        writes=("alerts",),
        asked_for=lambda names: names.notifies,
        beside=True,
        done="read",
        onward="`millstream notifier {stream} --new-epoch fresh` goes on with the alerts that come from now on",
    ),
)


def named(name: str) -> Role:
    """Return the role of this name. Raises KeyError if there is none."""
    plain, _, model = name.partition(".")
    for role in TABLE:
        if role.name == plain and (role.per_model or not model):
            return role.of_model(model)
    raise KeyError(name)


def kind_of_role(name: str) -> str:
    """Return the role's name without that of a model.

    >>> kind_of_role("learner.forest"), kind_of_role("joiner")
    ('learner', 'joiner')
    """
    return name.partition(".")[0]


def model_of_role(name: str) -> str:
    """Return the name of the model in a role's name, empty for the stream's own model.

    >>> model_of_role("learner.forest"), model_of_role("learner")
    ('forest', '')
    """
    return name.partition(".")[2]


def learner_of(model: str) -> str:
    """Return the role of a model's learner, by the model's id.

    >>> learner_of("fraud.forest"), learner_of("fraud")
    ('learner.forest', 'learner')
    """
    return named(LEARNER).of_model(name_of(model) if is_named(model) else "").name


def names_of_all(names: Names | None = None) -> tuple[str, ...]:
    """Return the names of all roles, in starting order; given a stream's names, with those of its named models."""
    return tuple(role.name for role in of_models(names))


def of_models(names: Names | None) -> tuple[Role, ...]:
    """Return all roles, with those of the named models after the one of the stream's own."""
    models = () if names is None else models_that_learn(names)
    return tuple(role.of_model(model) for role in TABLE for model in ("", *(models if role.per_model else ())))


def models_that_learn(names: Names) -> tuple[str, ...]:
    """Return the names of the named models that have a learner: jobs train the others."""
    return tuple(model for model in names.models if model not in names.batch)


def stopping_order() -> tuple[str, ...]:
    """Return the names of all roles, in the order in which they end."""
    return tuple(role.name for role in sorted(TABLE, key=lambda role: role.stops))


def of_stream(names: Names) -> tuple[Role, ...]:
    """Return the roles that every run of the stream with these names has."""
    return tuple(role for role in of_models(names) if role.runs_for(names) and not role.on_demand)
