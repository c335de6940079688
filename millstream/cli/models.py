"""`millstream models list` and `show`, `pause` and `resume`."""

from __future__ import annotations

import dataclasses
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
    has_topics,
    names_of,
    print_fields,
    print_json,
    print_table,
    size_text,
)
from millstream.config.settings import Settings

if TYPE_CHECKING:
    from model_store import Manifest, ModelStore
    from schemas.topics import Names

app = cyclopts.App(name="models", help="List, verify, pin, rebuild and move the versions of a stream's model.")

Why = Annotated[str, Parameter(help="Reason, kept with the decision.")]


def register(parent: cyclopts.App) -> None:
    """Add these commands."""
    parent.command(app)
    parent.command(pause)
    parent.command(resume)


@app.command(name="list")
def list_(stream: StreamName, /, *, where: Where = HERE, json: Json = False) -> None:
    """List the versions in the store: examples learned, metrics, size, library versions, and the served one.

    Works without a broker, but then does not show which version is served.

    Example: millstream models list phishing --json
    """
    settings = where.settings()
    store = store_of(settings)
    names = names_of(stream, settings, known(store, settings))
    found = list(_all(store, names.stream))
    serving = now_served(settings, names)
    if json:
        print_json([_plain(each, serving) if isinstance(each, _Known) else _refused(each) for each in found])
        return
    if not found:
        print(f"there are no versions of {names.stream} in {settings.models}: the learner writes the first")
        return
    metrics = list(dict.fromkeys(name for each in found if isinstance(each, _Known) for name in _progressive(each)))
    rows = [_row(each, metrics, serving) for each in found]
    _print_versions(rows, metrics, keep_reasons=any(isinstance(each, _Refused) for each in found))


@app.command
def show(
    stream: StreamName,
    version: Annotated[
        str | None, Parameter(name="VERSION", help="Version, EPOCH/EXAMPLES [default: the newest].")
    ] = None,
    /,
    *,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Show one version with everything in its manifest; numbers unrounded.

    Example: millstream models show phishing 1/1250
    """
    from model_store import InvalidVersion, NotFound, VersionId

    settings = where.settings()
    store = store_of(settings)
    names = names_of(stream, settings, known(store, settings))
    try:
        wanted = None if version is None else VersionId.parse(version, names.stream)
    except InvalidVersion as error:
        raise UsageError(str(error)) from error
    there = store.versions(names.stream)
    if not there:
        raise NotFound(f"there are no versions of {names.stream} in {settings.models}: the learner writes the first")
    if wanted is not None and wanted not in there:
        raise NotFound(f"there is no version {wanted} of {names.stream}; the newest is {there[-1]}")
    wanted = wanted or there[-1]
    plain = _plain(_Known(store.manifest(wanted), wanted in store.pinned(names.stream)), now_served(settings, names))
    if json:
        print_json(plain)
    else:
        print_fields(dict(_flat(plain)))


def pause(stream: StreamName, /, *, why: Why = "", where: Where = HERE, json: Json = False) -> None:
    """Pause learning. Predictors keep answering, and examples are kept for later.

    Example: millstream pause phishing --why "labels look wrong"
    """
    _decide(stream, True, why, where, json)


def resume(stream: StreamName, /, *, why: Why = "", where: Where = HERE, json: Json = False) -> None:
    """Resume learning, at the example after the last one learned.

    Example: millstream resume phishing
    """
    _decide(stream, False, why, where, json)


def _decide(stream: str, paused: bool, why: str, where: Where, as_json: bool) -> None:
    import msgspec

    from millstream.versions.decisions import decide, who
    from schemas.model_updates import Learning

    settings = where.settings()
    cluster = settings.cluster()
    names = names_of(stream, settings, has_topics(cluster))
    with filling_in(stream):
        update = decide(cluster, names, Learning(shard=0, paused=paused, by=who(), why=why))
    if as_json:
        print_json({"stream": names.stream, "at": update.at, **msgspec.structs.asdict(update.state)})
    elif paused:
        print(f"learning of {names.stream} is paused; `millstream resume {stream}` continues")
    else:
        print(f"learning of {names.stream} continues")


def store_of(settings: Settings) -> ModelStore:
    """Return the model store, for reading."""
    from model_store import open_store

    return open_store(settings.models, settings.keys, sign=False)


def known(store: ModelStore, settings: Settings) -> Callable[[Names], bool]:
    """Return a function that returns whether a stream has versions in the store, or topics if a broker answers."""
    from runtime.kafka_client.cluster import NoBroker
    from runtime.kafka_client.errors import KafkaError

    def known(names: Names) -> bool:
        if store.versions(names.stream):
            return True
        try:
            return has_topics(settings.cluster())(names)
        except (NoBroker, KafkaError):
            return False

    return known


def now_served(settings: Settings, names: Names) -> str | None:
    """Return the served version, `None` if no broker answers."""
    from millstream.status.group_metadata import recalled
    from millstream.status.report import served
    from millstream.status.snapshot import Observer
    from runtime.kafka_client.cluster import NoBroker
    from runtime.kafka_client.errors import KafkaError

    try:
        cluster = settings.cluster()
        with Observer(cluster, recalled(cluster, names)) as observer:
            return served(observer.look()).served
    except (NoBroker, KafkaError):
        return None


@dataclasses.dataclass(frozen=True)
class _Known:
    manifest: Manifest
    pinned: bool


@dataclasses.dataclass(frozen=True)
class _Refused:
    version: str
    why: str


def _all(store: ModelStore, model: str) -> Iterator[_Known | _Refused]:
    """Yield the versions, oldest first; an invalid one is yielded as refused, and does not hide others."""
    from model_store import NotFound, VersionRefused

    pinned = store.pinned(model)
    for version in store.versions(model):
        try:
            yield _Known(store.manifest(version), version in pinned)
        except NotFound:
            continue  # retention deleted it in the meantime
        except VersionRefused as error:
            yield _Refused(str(version), str(error))


def _progressive(known: _Known) -> dict[str, Any]:
    found = known.manifest.metrics.get("progressive", {}).get("all", {})
    return found if isinstance(found, dict) else {}


def _row(each: _Known | _Refused, metrics: list[str], serving: str | None) -> tuple[object, ...]:
    if isinstance(each, _Refused):
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


def _plain(known: _Known, serving: str | None) -> dict[str, Any]:
    """Return a version for JSON: its manifest, full name, size and code, and whether it is served."""
    import msgspec

    from consumers.model.version_files import CODE_FILE

    manifest = known.manifest
    fields = msgspec.to_builtins(manifest)
    return {
        **fields,
        "version": str(manifest.version),
        "model": manifest.version.model,
        "epoch": manifest.version.epoch,
        "parent": None if manifest.parent is None else str(manifest.parent),
        "size_bytes": manifest.size_bytes,
        "code": None if CODE_FILE not in manifest.files else manifest.files[CODE_FILE].sha256[:12],
        "serving": None if serving is None else str(manifest.version) == serving,
        "pinned": known.pinned,
    }


def _refused(each: _Refused) -> dict[str, Any]:
    return {"version": each.version, "refused": each.why}


def _flat(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, each in value.items():
        if isinstance(each, dict) and each:
            yield from _flat(each, f"{prefix}{name}.")
        else:
            yield prefix + name, each
