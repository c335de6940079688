"""`millstream models …`, `pause` and `resume`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
from cyclopts import Parameter

from millstream.cli.common import HERE, Json, StreamName, UsageError, Where, at, names_of, print_fields, print_json
from millstream.cli.common import print_table
from millstream.settings import Settings

if TYPE_CHECKING:
    from model_store import Manifest, ModelStore
    from schemas.topics import Names

app = cyclopts.App(name="models", help="The versions of a stream's model.")

Why = Annotated[str, Parameter(help="Kept with the decision.")]


def register(parent: cyclopts.App) -> None:
    """Add these commands."""
    parent.command(app)
    parent.command(pause)
    parent.command(resume)


@app.command(name="list")
def list_(stream: StreamName, /, *, where: Where = HERE, json: Json = False) -> None:
    """List the versions in the store: examples learned, metrics, size, library versions, which one serves.

    Works without a broker; which version serves is then not known.

    Example: millstream models list phishing --json
    """
    settings = where.settings()
    names = names_of(stream, settings)
    store = _store(settings)
    serving = _serving(settings, names)
    manifests = [store.manifest(version) for version in store.versions(names.stream)]
    if json:
        print_json([_plain(each, serving) for each in manifests])
        return
    metric_names = list(dict.fromkeys(name for each in manifests for name in _progressive(each)))
    rows = [
        (
            each.version.short,
            at(each.created_ms),
            *(_progressive(each).get(name) for name in metric_names),
            f"{_size(each) / 1000:.1f} kB",
            each.reason,
            "serves" if each.version.short == serving else "",
        )
        for each in manifests
    ]
    if not rows:
        print(f"there are no versions of {names.stream} in {settings.models}: the learner writes the first")
        return
    print_table(("version", "made", *metric_names, "size", "because", ""), rows)


@app.command
def show(
    stream: StreamName,
    version: Annotated[str | None, Parameter(name="VERSION", help="EPOCH/EXAMPLES [default: the newest].")] = None,
    /,
    *,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Show one version with everything its manifest says; numbers unrounded.

    Example: millstream models show phishing 1/1250
    """
    settings = where.settings()
    names = names_of(stream, settings)
    store = _store(settings)
    found = store.manifest(_version(store, names.stream, version))
    plain = _plain(found, _serving(settings, names))
    if json:
        print_json(plain)
    else:
        print_fields(dict(_flat(plain)))


def pause(
    stream: StreamName, /, *, why: Why = "", where: Where = HERE, json: Json = False
) -> None:
    """Stop learning; serving goes on, and examples are kept for later.

    Example: millstream pause phishing --why "labels look wrong"
    """
    _decide(stream, True, why, where, json)


def resume(
    stream: StreamName, /, *, why: Why = "", where: Where = HERE, json: Json = False
) -> None:
    """Go on learning, from the example after the last one learned.

    Example: millstream resume phishing
    """
    _decide(stream, False, why, where, json)


def _decide(stream: str, paused: bool, why: str, where: Where, as_json: bool) -> None:
    import msgspec

    from millstream.decisions import decide, who
    from schemas.events import Learning

    settings = where.settings()
    cluster, names = settings.cluster(), names_of(stream, settings)
    update = decide(cluster, names, Learning(shard=0, paused=paused, by=who(), why=why))
    if as_json:
        print_json({"stream": names.stream, "at": update.at, **msgspec.structs.asdict(update.state)})
    elif paused:
        print(f"learning of {names.stream} is paused; `millstream resume {stream}` goes on")
    else:
        print(f"learning of {names.stream} goes on")


def _store(settings: Settings) -> ModelStore:
    from model_store import open_store

    return open_store(settings.models, settings.keys, sign=False)


def _serving(settings: Settings, names: Names) -> str | None:
    """Return what serves, where a broker answers."""
    from kafka.errors import KafkaError

    from millstream.observe import Observer
    from millstream.status import served
    from schemas.cluster import NoBroker

    try:
        with Observer(settings.cluster(), names) as observer:
            return served(observer.look()).served
    except (NoBroker, KafkaError):
        return None
