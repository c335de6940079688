"""`millstream backfill`: predictions for past events, or a model trained on a range of the log."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
from cyclopts import Parameter

from millstream.cli.progress import Bar
from millstream.cli.range_options import ALL, AT_ONCE, Manner, Range, announce, before, finish, left, say, topic_name
from millstream.cli.shared_options import (
    HERE,
    CodePolicy,
    Json,
    StreamName,
    UsageError,
    Where,
    filling_in,
    load_named,
    print_fields,
    print_json,
)
from runtime.exits import OK

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.replay.backfill import Choose
    from millstream.replay.past_versions import PastVersions
    from millstream.replay.replay import Replay
    from millstream.stream.load import LoadedStream
    from millstream.version_code.choice import Policy
    from model_store import ModelStore, VersionId
    from runtime.kafka_client.cluster import Cluster


def register(parent: cyclopts.App) -> None:
    """Add this command."""
    parent.command(backfill)


@Parameter(name="*", group="Predicting")
@dataclasses.dataclass(frozen=True)
class Answering:
    """The version that answers, and the topic for its answers."""

    into: str | None = None
    """Full name of the topic for the answers; created with unlimited retention if it is missing."""

    model: str | None = None
    """Version that answers: EPOCH/EXAMPLES, MODEL:EPOCH/EXAMPLES, or MODEL for its newest [default: the served one]."""

    as_of: Annotated[bool, Parameter(negative="")] = False
    """Answer each event with the version that answered it originally."""

    code: CodePolicy = "version"


@Parameter(name="*", group="Training")
@dataclasses.dataclass(frozen=True)
class LearnOptions:
    """Options of `--learn`."""

    learn: Annotated[bool, Parameter(negative="")] = False
    """Train a new model on the range of the examples log; the learner continues from it."""

    why: str = ""
    """Reason, kept with the decision (with --learn)."""


_SERVING, _NO_LEARNING = Answering(), LearnOptions()


def backfill(
    stream: StreamName,
    /,
    *,
    answering: Answering = _SERVING,
    learning: LearnOptions = _NO_LEARNING,
    span: Range = ALL,
    manner: Manner = AT_ONCE,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Predict a range of past events again, into a separate topic; or train a new model on past examples (--learn).

    Running roles are not disturbed. After an interruption, the same command continues without a repeat or a gap. With
    --learn, a new model learns a range of the log in a new epoch, and the learner continues from its exact offset.

    Example: millstream backfill fraud.py --from 2026-05-01T00:00 --as-of --into fraud-may.predictions
    """
    if learning.learn:
        if answering != _SERVING or manner != AT_ONCE:
            raise UsageError(
                "--learn writes no answers: leave out --into, --model and --as-of, and --speed, --rate and --again"
            )
        return _learn(stream, span, learning.why, where, json)
    if answering.into is None:
        raise UsageError("--into is missing: name the topic for the answers, or say --learn")
    if learning.why:
        raise UsageError("--why goes with --learn")
    if answering.model is not None and answering.as_of:
        raise UsageError("--model names one version, --as-of takes each event's own: give one of them")
    wish = _Wish(stream, topic_name(answering.into), answering.model, answering.as_of, answering.code)
    return _predict(wish, span, manner, where, json)


@dataclasses.dataclass(frozen=True)
class _Wish:
    stream: str
    into: str
    model: str | None
    as_of: bool
    code: Policy

    @property
    def what(self) -> str:
        """Key that distinguishes this backfill from others of the same range."""
        from millstream.replay.backfill import AS_OF

        return AS_OF if self.as_of else self.model or "serving"


def _predict(wish: _Wish, span: Range, manner: Manner, where: Where, as_json: bool) -> int:
    from millstream.cli.version_choice import version_meant
    from millstream.processes import gc_tuning
    from millstream.replay.backfill import BackfillAnswers, Reader, insist_on_own
    from millstream.replay.past_versions import PastVersions
    from millstream.replay.plan import ReplayTarget, plan
    from millstream.replay.replay import Replay
    from model_store import open_store

    pace, (begin, end) = manner.pace(), span.edges()
    settings = where.settings()
    loaded = load_named(wish.stream, settings, wish.code)
    names = settings.names(loaded.stream)
    store = open_store(settings.models, settings.keys, sign=False)
    if wish.model is not None:
        version_meant(store, names, wish.model)
    insist_on_own(names, wish.into)
    cluster = settings.cluster()
    there = cluster.topic_info(names.whole).get(names.whole)
    target = ReplayTarget(cluster, wish.into, None if there is None else there.partitions, wish.what)
    with filling_in(wish.stream):
        version = _version(wish, settings, loaded, store)
        job = plan(cluster, names.topic("features"), begin, end, target)
        with (
            Replay(job, names, again=manner.again, role="backfill", note=version, keeps_begin=wish.as_of) as work,
            PastVersions(loaded, cluster, names, store, say, wish.code) as versions,
        ):
            announce(work, pace)
            choose = _choose(wish, names, work, versions)
            reader = Reader.of(loaded.stream, settings.schema_registry(say))
            answers = BackfillAnswers(reader, names, job, versions, choose)
            gc_tuning.rest()
            with Bar("events") as bar:
                done = work.run(
                    pace, lambda at, total, secs: bar.show(at, total, left(secs)), work=answers, ordered=wish.as_of
                )
            told = {"topic": job.topic, "into": job.into, "version": wish.what if wish.as_of else work.note}
    if answers.unanswered:
        say(f"{answers.unanswered:,} events had no answer on {names.whole}: none is written for them")
    if as_json:
        print_json({**told, **dataclasses.asdict(done), "unanswered": answers.unanswered, "id": job.key})
    else:
        print(f"{done.written:,} answers written into {job.into} in {done.seconds:.1f} s" + before(done.before))
    return finish(done)


def _version(wish: _Wish, settings: Settings, loaded: LoadedStream, store: ModelStore) -> str:
    """Return the version that answers, for --as-of possibly none (empty), after checks that it can."""
    from millstream.cli.models import now_served
    from millstream.cli.version_choice import version_meant
    from millstream.replay.backfill import CannotBackfill
    from millstream.versions.decisions import usable

    names = settings.names(loaded.stream)
    if wish.model is not None:
        wanted = version_meant(store, names, wish.model)
        usable(store, wanted)
        return str(wanted)
    version = now_served(settings, names)
    if version is None and not wish.as_of:
        raise CannotBackfill(f"nothing serves {names.stream} yet: name a version with --model")
    return version or ""


def _choose(wish: _Wish, names: Any, work: Replay, versions: PastVersions) -> Choose:
    from millstream.cli.version_decisions import parsed
    from millstream.replay.backfill import as_of, by_one

    version: VersionId | None = parsed(work.note, names.stream) if work.note else None
    if not wish.as_of:
        assert version is not None  # noqa: S101 - noted at the first run
        say(f"version {version} answers")
        versions.get(version)
        return by_one(version)
    with Bar("answers of then") as bar:
        return as_of(names, work, version, versions, say, bar.show)


def _learn(stream: str, span: Range, why: str, where: Where, as_json: bool) -> int:
    from millstream.versions.decisions import who
    from millstream.versions.rebuild import Workshop, adopt
    from model_store import open_store

    begin, end = span.edges()
    settings = where.settings()
    loaded = load_named(stream, settings)
    names = settings.names(loaded.stream)
    cluster: Cluster = settings.cluster()
    store = open_store(settings.models, settings.keys, sign=True)
    with filling_in(stream), Workshop(loaded, cluster, names, store, say) as workshop:
        with Bar("offsets") as bar:
            made = workshop.learn(begin, end, bar.show)
        version = made.made.version
        workshop.insist_on_adoptable(version)
        adopt(cluster, names, version, by=who(), why=why)
    told = {
        "version": str(version),
        "first": str(made.first.version),
        "learned": made.learned,
        "skipped": made.skipped,
        "from": made.first.offset,
        "offset": made.made.offset,
    }
    if as_json:
        print_json(told)
    else:
        print_fields(told)
        print(f"learning continues from version {version}, at offset {made.made.offset} of {names.topic('examples')}")
    return OK
