"""`millstream models verify`, `pin`, `unpin`, `promote`, `rollback` and `history`: choose what serves."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from consumers.roles import learner_of
from millstream.cli.fixed_environment import again_fixed, is_fixed
from millstream.cli.models import Why, app, checked_model, known_model, store_of
from millstream.cli.progress import Bar
from millstream.cli.shared_options import (
    HERE,
    CodePolicy,
    Json,
    StreamName,
    UsageError,
    Where,
    at,
    filling_in,
    full_names,
    load_named,
    moment_of,
    print_fields,
    print_json,
    print_table,
)
from millstream.cli.version_choice import AnyVersion, version_or_newest
from runtime.exits import FAILED, OK
from schemas.model_names import MAIN, is_named, name_of

if TYPE_CHECKING:
    from consumers.model.verify import Verified
    from model_store import VersionId
    from runtime.kafka_client.cluster import Cluster
    from schemas.topics import Names

VersionName = Annotated[
    str, Parameter(name="VERSION", help="EPOCH/EXAMPLES or MODEL:EPOCH/EXAMPLES, as `millstream models list` shows it.")
]


@app.command
def verify(
    stream: StreamName,
    version: AnyVersion = None,
    /,
    *,
    from_: Annotated[
        str | None, Parameter(name="--from", help="Version to start from [default: the first of the epoch].")
    ] = None,
    code: CodePolicy = "version",
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Rebuild a version from the log, and compare the number of examples, the hash chain and the answers.

    A version that a job has trained is trained again, with the parameters that were chosen for it.

    The exit code is 0 if all agree, else 1.

    Example: millstream models verify phishing 1/1250
    """
    from millstream.training.verifying import is_trained, verify_trained
    from millstream.version_code.choice import VersionCode
    from millstream.versions.operations import verify_version

    settings = where.settings()
    loaded = load_named(stream, settings, code)
    names = settings.names(loaded.stream)
    store = store_of(settings)
    chosen = VersionCode(loaded, store, code, lambda line: print(line, file=sys.stderr))
    wanted = version_or_newest(store, settings, names, version)
    base = None if from_ is None else parsed(from_, wanted.model)
    trained = is_trained(store.manifest(wanted))
    if trained and not is_fixed():
        return again_fixed(["models", "verify", stream, str(wanted), "--code", code, *(["--json"] * json)], settings)
    if trained and base is not None:
        raise UsageError(
            "--from is for versions that learn from each event: this one was trained on a range of the log"
        )
    with Bar("offsets") as bar, filling_in(stream):
        if trained:
            found = verify_trained(chosen, settings.cluster(), names, wanted, bar.show)
        else:
            found = verify_version(chosen, settings.cluster(), names, wanted, base, bar.show)
    _print_verified(found, as_json=json)
    return OK if found.holds else FAILED


def _print_verified(found: Verified, *, as_json: bool) -> None:
    said: dict[str, Any] = {
        "version": str(found.version),
        "from": str(found.base),
        "replayed": found.replayed,
        "examples": found.learned,
        "chain": found.chain,
        "answers": found.fingerprint,
        "holds": found.holds,
    }
    if as_json:
        print_json(said)
        return
    told = {True: "equal", False: "NOT EQUAL", None: "not compared: it was written on another kind of CPU"}
    print_fields({name: told.get(value, value) if name in _COMPARED else value for name, value in said.items()})
    print(
        f"version {found.version} is what the log says"
        if found.holds
        else f"version {found.version} is NOT what the log says: it learned something else, or was changed since"
    )


_COMPARED = ("examples", "chain", "answers")


@app.command
def pin(stream: StreamName, version: VersionName, /, *, why: Why = "", where: Where = HERE, json: Json = False) -> None:
    """Make every predictor serve one version until `unpin`. Retention does not delete a pinned version.

    Example: millstream models pin phishing 1/1000 --why "labels look wrong since"
    """
    _serve(stream, parsed(version, stream_name(stream, where)), why, where, json)


@app.command
def unpin(stream: StreamName, /, *, why: Why = "", where: Where = HERE, json: Json = False) -> None:
    """Make predictors follow the newest version again.

    Example: millstream models unpin phishing
    """
    _serve(stream, None, why, where, json)


@app.command
def rollback(
    stream: StreamName,
    version: Annotated[
        str | None,
        Parameter(
            name="VERSION", help="Version, EPOCH/EXAMPLES or MODEL:EPOCH/EXAMPLES [default: what served before]."
        ),
    ] = None,
    /,
    *,
    why: Why = "",
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Make predictors serve the previous version until `unpin`; after a promotion, the model that served before.

    Learning continues, unless it is paused.

    Example: millstream models rollback phishing --why "answers got worse at noon"
    """
    from millstream.versions.rollback import previous

    settings = where.settings()
    name = stream_name(stream, where)
    model, target = "", None
    if version is not None:
        target = parsed(version, name)
    else:
        cluster = settings.cluster()
        with filling_in(stream):
            model, target = previous(cluster, full_names(stream, settings, cluster), store_of(settings))
    _serve(stream, target, why, where, json, model)


@app.command
def promote(
    stream: StreamName,
    model: Annotated[str, Parameter(name="MODEL", help="Name of the model among the stream's `models`, or main.")],
    /,
    *,
    why: Why = "",
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Make another model of the stream the serving one: its newest version, and each that follows.

    All models go on learning. `millstream models rollback` takes it back.

    Example: millstream models promote fraud.py forest --why "better on large amounts for a week"
    """
    from millstream.versions.decisions import decided_row, who
    from millstream.versions.decisions import promote as decide

    checked_model(model)
    settings = where.settings()
    cluster, store = settings.cluster(), store_of(settings)
    names = full_names(stream, settings, cluster)
    with filling_in(stream):
        update, newest = decide(cluster, names, store, known_model(names, model), by=who(), why=why)
    if json:
        print_json(decided_row(names, update))
    else:
        print(f"{names.stream} serves {model} from now on, beginning with version {newest}")


@app.command
def history(
    stream: StreamName,
    /,
    *,
    at_: Annotated[
        str | None, Parameter(name="--at", help="Show what served at this time: 2026-05-01T12:00, 06:00 or 6h (ago).")
    ] = None,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """List every decision: when, by whom, what and why; of a decision by a rule also its evidence.

    Example: millstream models history fraud --at 6h
    """
    from millstream.reading.decision_history import in_force_at, read_history, read_newest, row, said

    settings = where.settings()
    cluster = settings.cluster()
    names = full_names(stream, settings, cluster)
    if at_ is not None:
        moment = moment_of(at_)
        newest = read_newest(cluster, names, lambda found: in_force_at(found, moment) is not None, moment)
        held = in_force_at(newest, moment)
        if json:
            print_json({"at": moment, "decision": None if held is None else row(held)})
        elif held is None:
            print(f"at {at(moment)} {names.stream} served {MAIN}: nobody had decided anything")
        else:
            by = row(held)["by"]
            print(f"at {at(moment)} the decision in force was: {said(held.update.state)} ({by}, {at(held.update.at)})")
        return
    rows = [row(each) for each in read_history(cluster, names)]
    if json:
        print_json(rows)
    elif not rows:
        print(f"nobody has decided anything about {names.stream}: {MAIN} serves its newest version")
    else:
        table = [
            (
                at(each["at"]),
                each["by"],
                each["decision"] if each["in_force"] else f"{each['decision']} (a person had decided meanwhile)",
                each["why"],
                ", ".join(f"{name} {value:.4g}" for name, value in each["evidence"].items()) or None,
            )
            for each in rows
        ]
        print_table(("time", "by", "decision", "why", "evidence"), table)


def _serve(
    stream: str, version: VersionId | None, why: str, where: Where, as_json: bool, model: str | None = None
) -> None:
    """Record the decision on the version to serve; `None` means the newest of `model`, by default the serving one."""
    from millstream.reading.decision_history import served_model
    from millstream.versions.decisions import decided_row, serve, who

    settings = where.settings()
    name = stream_name(stream, where)
    cluster, names, store = settings.cluster(), settings.names(name), store_of(settings)
    with filling_in(stream):
        if version is None and model is None:
            model = served_model(cluster, names)
        made = serve(cluster, names, store, version, by=who(), why=why, model=model or "")
    if as_json:
        print_json(decided_row(names, made.update))
    elif made.manifest is None:
        of = f" of {name_of(model)}" if model is not None and len(store.models(name)) > 1 else ""
        print(f"{name} serves its newest version{of} from now on")
    else:
        print(
            f"{name} serves version {version} until `millstream models unpin {stream}`; "
            f"{_learning(cluster, names, made.manifest.version.model)}"
        )
        if made.manifest.definition != store.manifest(store.versions(made.manifest.version.model)[-1]).definition:
            print(
                f"version {version} has another definition than the newest: a predictor whose code differs from the "
                "version's serves it with --code version and refuses it with --code own"
            )


def _learning(cluster: Cluster, names: Names, model: str) -> str:
    """Say whether a model learns on meanwhile."""
    from consumers.learner.offset_metadata import LearnerMetadata
    from millstream.status.group_metadata import recalled
    from millstream.status.snapshot import Observer

    role, option = learner_of(model), f" --model {name_of(model)}" if is_named(model) else ""
    with Observer(cluster, recalled(cluster, names)) as observer:
        now = observer.look()
    if any(isinstance(each, LearnerMetadata) and each.full for each in now.metadata(role)):
        return "learning is stopped, because the model is as large as it may be"
    if now.is_paused(role):
        return f"learning stays paused until `millstream resume {names.stream}{option}`"
    return "learning goes on"


def stream_name(stream: str, where: Where) -> str:
    """Return the name of the stream; a plain name must have versions or topics."""
    from millstream.cli.models import known
    from millstream.cli.shared_options import names_of

    settings = where.settings()
    name: str = names_of(stream, settings, known(store_of(settings), settings)).stream
    return name


def parsed(version: str, model: str) -> VersionId:
    """Return the version of this name. Raises UsageError if it is invalid."""
    from model_store import InvalidVersion, VersionId

    try:
        return VersionId.parse(version, model)
    except InvalidVersion as error:
        raise UsageError(str(error)) from error
