"""`millstream models list` and `show`, `pause` and `resume`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
from cyclopts import Parameter

from millstream.cli.shared_options import (
    HERE,
    Json,
    StreamName,
    UsageError,
    Where,
    at,
    filling_in,
    full_names,
    has_topics,
    names_of,
    print_fields,
    print_json,
    print_table,
    size_text,
)
from millstream.cli.version_choice import AnyVersion, version_or_newest
from millstream.config.settings import Settings
from schemas.model_names import MAIN, is_model_name, is_named, model_id

if TYPE_CHECKING:
    from millstream.versions.listing import KnownVersion, RefusedVersion
    from model_store import ModelStore
    from schemas.topics import Names

app = cyclopts.App(name="models", help="List, verify, pin, rebuild and move the versions of a stream's model.")

ModelName = Annotated[str, Parameter(name="--model", help="Name of the model among the stream's `models`.")]
Why = Annotated[str, Parameter(help="Reason, kept with the decision.")]


def register(parent: cyclopts.App) -> None:
    """Add these commands."""
    parent.command(app)
    parent.command(pause)
    parent.command(resume)


@app.command(name="list")
def list_(stream: StreamName, /, *, where: Where = HERE, json: Json = False) -> None:
    """List the versions in the store, of all models: examples learned, metrics, size, libraries, and the served one.

    Works without a broker, but then does not show which version is served.

    Example: millstream models list phishing --json
    """
    from millstream.versions.listing import KnownVersion, row, versions

    settings = where.settings()
    store = store_of(settings)
    names = names_of(stream, settings, known(store, settings))
    found = [each for model in store.models(names.stream) for each in versions(store, model)]
    serving = now_served(settings, names)
    if json:
        print_json([row(each, serving) for each in found])
        return
    if not found:
        print(f"there are no versions of {names.stream} in {settings.models}: the learner writes the first")
        return
    readable = [each for each in found if isinstance(each, KnownVersion)]
    metrics = list(dict.fromkeys(name for each in readable for name in _progressive(each)))
    rows = [_row(each, metrics, serving) for each in found]
    _print_versions(rows, metrics, keep_reasons=len(readable) < len(found))


@app.command
def show(
    stream: StreamName,
    version: AnyVersion = None,
    /,
    *,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Show one version with everything in its manifest; numbers unrounded.

    Example: millstream models show phishing 1/1250
    """
    from millstream.versions.listing import find, row

    settings = where.settings()
    store = store_of(settings)
    names = names_of(stream, settings, known(store, settings))
    wanted = version_or_newest(store, settings, names, version)
    plain = row(find(store, wanted, settings.models), now_served(settings, names))
    if json:
        print_json(plain)
    else:
        print_fields(dict(_flat(plain)))


def pause(
    stream: StreamName, /, *, model: ModelName = MAIN, why: Why = "", where: Where = HERE, json: Json = False
) -> None:
    """Pause learning of one model. Predictors keep answering, and examples are kept for later.

    Example: millstream pause phishing --why "labels look wrong"
    """
    _decide(stream, model, True, why, where, json)


def resume(
    stream: StreamName, /, *, model: ModelName = MAIN, why: Why = "", where: Where = HERE, json: Json = False
) -> None:
    """Resume learning of one model, at the example after the last one learned.

    Example: millstream resume phishing
    """
    _decide(stream, model, False, why, where, json)


def _decide(stream: str, model: str, paused: bool, why: str, where: Where, as_json: bool) -> None:
    from millstream.versions.decisions import decided_row, learn, who

    checked_model(model)
    settings = where.settings()
    cluster = settings.cluster()
    names = full_names(stream, settings, cluster)
    of = known_model(names, model)
    with filling_in(stream):
        update = learn(cluster, names, paused=paused, by=who(), why=why, model=of)
    which, option = (f"{model} of ", f" --model {model}") if is_named(of) else ("", "")
    if as_json:
        print_json(decided_row(names, update))
    elif paused:
        print(f"learning of {which}{names.stream} is paused; `millstream resume {stream}{option}` continues")
    else:
        print(f"learning of {which}{names.stream} continues")


def checked_model(name: str) -> str:
    """Return the name of a model as given. Raises UsageError if no model could have it."""
    if not is_model_name(name):
        raise UsageError(f"{name[:100]!r} is no model: a name in models= has 1 to 31 of a-z, 0-9 and '-', or is {MAIN}")
    return name


def known_model(names: Names, name: str) -> str:
    """Return the id of the stream's model with this name. Raises UsageError if there is none."""
    if name not in (MAIN, *names.models):
        known = ", ".join((MAIN, *names.models))
        raise UsageError(f"{names.stream} has no model {name!r}; its models are {known}")
    return model_id(names.stream, name)


def store_of(settings: Settings) -> ModelStore:
    """Return the model store, for reading."""
    from model_store import open_store

    return open_store(settings.models, settings.keys, sign=False)


def known(store: ModelStore, settings: Settings) -> Callable[[Names], bool]:
    """Return a function that returns whether a stream has versions in the store, or topics if a broker answers."""
    from runtime.kafka_client.cluster import NoBroker
    from runtime.kafka_client.errors import KafkaError

    def known(names: Names) -> bool:
        if store.models(names.stream):
            return True
        try:
            return has_topics(settings.cluster())(names)
        except (NoBroker, KafkaError):
            return False

    return known


def now_served(settings: Settings, names: Names) -> str | None:
    """Return the served version, `None` if no broker answers."""
    from millstream.versions.listing import now_served

    return now_served(settings.cluster, names)


def _progressive(known: KnownVersion) -> dict[str, Any]:
    found = known.manifest.metrics.get("progressive", {}).get("all", {})
    return found if isinstance(found, dict) else {}


def _row(each: KnownVersion | RefusedVersion, metrics: list[str], serving: str | None) -> tuple[object, ...]:
    from millstream.versions.listing import RefusedVersion

    if isinstance(each, RefusedVersion):
        return (each.version, None, *(None for _ in metrics), None, None, f"refused: {each.why}", "")
    manifest, values = each.manifest, _progressive(each)
    marks = [mark for mark, holds in (("serves", str(manifest.version) == serving), ("pinned", each.pinned)) if holds]
    return (
        manifest.version,
        at(manifest.created_at_ms),
        *(values.get(name) for name in metrics),
        size_text(manifest.size_bytes),
        manifest.libraries.get("river"),
        manifest.reason,
        ", ".join(marks),
    )


def _print_versions(rows: list[tuple[object, ...]], metrics: list[str], *, keep_reasons: bool) -> None:
    """Print the table; the reasons for refused versions are shown even on a narrow terminal."""
    print_table(
        ("version", "made", *metrics, "all files", "river", "because", "now"),
        rows,
        spare=("river", "all files", *(() if keep_reasons else ("because",)), "made", *reversed(metrics[1:])),
        cut={"because": 12},
    )


def _flat(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, each in value.items():
        if isinstance(each, dict) and each:
            yield from _flat(each, f"{prefix}{name}.")
        else:
            yield prefix + name, each
