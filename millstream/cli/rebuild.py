"""`millstream models rebuild` and `adopt`: rebuild a version from the log, and continue from it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from millstream.cli.models import Why, app, checked_model, now_served
from millstream.cli.progress import Bar
from millstream.cli.shared_options import (
    HERE,
    CodePolicy,
    Json,
    StreamName,
    UsageError,
    Where,
    cell,
    filling_in,
    load_named,
    moment_of,
    print_fields,
    print_json,
    print_table,
)
from millstream.cli.version_decisions import VersionName, parsed
from schemas.model_names import MAIN, model_id, name_of

if TYPE_CHECKING:
    from consumers.learner.rebuild import Rebuilt
    from consumers.model.log_edits import Edits
    from millstream.versions.rebuild import Difference
    from model_store import VersionId


@Parameter(name="*", group="Excluding and correcting examples")
@dataclass(frozen=True)
class LogEditOptions:
    """Differences between the history to learn and the log. An example is left out if any option excludes it."""

    without: Path | None = None
    """Leave out these events: a file with one id per line."""

    where: Annotated[tuple[str, ...], Parameter(name="--where", negative="")] = ()
    """Leave out events with FEATURE=VALUE; if repeated, events that match all."""

    labels_from: str | None = None
    """Leave out examples whose labels came at this time or later: 2026-05-01T12:00, 06:00, 6h (ago), or ms."""

    labels_to: str | None = None
    """Leave out examples whose labels came before this time; with --labels-from, those between [default: now]."""

    source: Literal["system", "human", "import", "timeout"] | None = None
    """Leave out examples with labels of this source; with the two options above, those that match all."""

    with_corrections: Annotated[bool, Parameter(negative="")] = False
    """Learn corrected examples with their corrections."""

    def edits(self) -> Edits:
        """Return the edits of the log. Raises UsageError if an option is invalid."""
        from consumers.model.log_edits import Edits, digest

        moments = (self.labels_from, self.labels_to)
        begin, end = (None if each is None else moment_of(each) for each in moments)
        if begin is not None and end is not None and begin >= end:
            raise UsageError(f"--labels-from {moments[0]} is not before --labels-to {moments[1]}: nothing is left out")
        return Edits(
            until=0,
            without=sorted({digest(each) for each in _ids(self.without)}),
            where=dict(map(_feature, self.where)),
            labels_from=begin,
            labels_to=end,
            source=self.source,
            corrections=self.with_corrections,
        )


@Parameter(name="*", group="Starting point")
@dataclass(frozen=True)
class Base:
    """Version that a rebuild starts from."""

    from_: Annotated[str | None, Parameter(name="--from")] = None
    """Version to start from, with the code that made it [default: an untrained model]."""

    model: str = MAIN
    """Name of the model to rebuild, without `--from`."""

    code: CodePolicy = "version"


_AS_IT_WAS, _UNTRAINED = LogEditOptions(), Base()


@app.command
def rebuild(
    stream: StreamName,
    /,
    *,
    to: Annotated[int | None, Parameter(help="Number of examples to learn [default: all on the log].")] = None,
    base: Base = _UNTRAINED,
    history: LogEditOptions = _AS_IT_WAS,
    adopt: Annotated[bool, Parameter(negative="", help="Make the learner continue from it at once.")] = False,
    why: Why = "",
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Rebuild a version from the log, in a new epoch, and compare it with the served version.

    The log does not change, and the learner continues undisturbed. Predictors serve the new version only after you
    adopt or pin it. Times of labels are those at which the broker received them.

    Example: millstream models rebuild fraud.py --labels-from 6h --source system --adopt --why "inverted labels"
    """
    from millstream.versions.decisions import who
    from millstream.versions.rebuild import RebuildRequest, Workshop
    from millstream.versions.rebuild import adopt as decide
    from model_store import open_store

    if to is not None and to < 1:
        raise UsageError(f"--to {to}: a rebuilt version has learned at least 1 example")
    edits = history.edits()
    if adopt and to is not None and not edits.change_nothing:
        raise UsageError("--to cannot be adopted if examples are left out: the learner would learn those after it")
    checked_model(base.model)
    settings = where.settings()
    loaded = load_named(stream, settings, base.code)
    names = settings.names(loaded.stream)
    begin = None if base.from_ is None else parsed(base.from_, model_id(names.stream, base.model))
    loaded = loaded.of_model(base.model if begin is None else name_of(begin.model))
    cluster = settings.cluster()
    store = open_store(settings.models, settings.keys, sign=True)
    with filling_in(stream), Workshop(loaded, cluster, names, store, _say, base.code) as workshop:
        with Bar("offsets") as bar:
            made = workshop.rebuild(RebuildRequest(edits, begin, to), bar.show)
        served = now_served(settings, names)
        difference = None if served is None else workshop.compare(made.made, parsed(served, names.stream))
        if adopt:
            workshop.insist_on_adoptable(made.made.version)
            decide(cluster, names, made.made.version, by=who(), why=why)
    if json:
        print_json(_plain(made, difference, adopt))
    else:
        _show(made, difference, stream, adopted=adopt)


@app.command(name="adopt")
def adopt_(
    stream: StreamName, version: VersionName, /, *, why: Why = "", where: Where = HERE, json: Json = False
) -> None:
    """Make the learner continue from a rebuilt version, at its offset in the log. Predictors follow it.

    Example: millstream models adopt fraud.py 2/81200 --why "without the inverted labels"
    """
    from millstream.versions.decisions import decided_row, who
    from millstream.versions.rebuild import Workshop
    from millstream.versions.rebuild import adopt as decide
    from model_store import open_store

    settings = where.settings()
    loaded = load_named(stream, settings)
    names = settings.names(loaded.stream)
    wanted = parsed(version, names.stream)
    loaded = loaded.of_model(name_of(wanted.model))
    cluster = settings.cluster()
    store = open_store(settings.models, settings.keys, sign=False)
    with filling_in(stream), Workshop(loaded, cluster, names, store, _say) as workshop:
        workshop.insist_on_adoptable(wanted)
        update = decide(cluster, names, wanted, by=who(), why=why)
    if json:
        print_json(decided_row(names, update))
    else:
        print(_adopted(wanted))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _ids(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:  # not UTF-8, or an invalid file name
        raise UsageError(f"--without {path} cannot be read: {error}") from error
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise UsageError(f"--without {path} names no event: write one id on each line")
    return found


def _feature(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise UsageError(f"--where {text!r}: write feature=value, such as customer=17")
    return name, value


def _plain(made: Rebuilt, difference: Difference | None, adopted: bool) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "version": str(made.made.version),
        "first": str(made.first.version),
        "parent": None if made.made.parent is None else str(made.made.parent),
        "offset": made.made.offset,
        "learned": made.learned,
        "left_out": made.left_out,
        "skipped": made.skipped,
        "adopted": adopted,
        "difference": None,
    }
    if difference is not None:
        plain["difference"] = {
            "serving": str(difference.serving),
            "metrics": {
                name: {"serving": old, "made": new, "difference": None if None in (old, new) else new - old}  # type: ignore[operator]
                for name, (old, new) in difference.metrics.items()
            },
            "compared": difference.compared,
            "equal": difference.equal,
            "largest": difference.largest,
            "why": difference.why,
        }
    return plain


def _show(made: Rebuilt, difference: Difference | None, stream: str, *, adopted: bool) -> None:
    version = made.made.version
    print_fields(
        {
            "version": version,
            "learned": made.learned,
            "left out": made.left_out,
            "skipped": made.skipped,
            "stands at offset": made.made.offset,
        }
    )
    if difference is not None:
        rows = [
            (name, old, new, None if old is None or new is None else new - old)
            for name, (old, new) in difference.metrics.items()
        ]
        print_table(("metric, over all learned", f"{difference.serving} serves", f"{version} new", "difference"), rows)
        if difference.why:
            print(f"answers were not compared: {difference.why}")
        elif difference.compared:
            share, apart = 100 * (difference.equal or 0.0), cell(difference.largest)
            print(
                f"answers to the newest {difference.compared} events: {share:.1f} % equal, "
                f"largest difference of a probability or value {apart}"
            )
    if adopted:
        print(_adopted(version))
    else:
        print(
            f"it is not served yet: `millstream models adopt {stream} {version}` makes the learner continue from it, "
            f"`millstream models pin {stream} {version}` makes predictors serve it"
        )


def _adopted(version: VersionId) -> str:
    return f"learning continues from version {version}; predictors follow it unless a version is pinned"
