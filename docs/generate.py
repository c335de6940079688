"""Write docs/reference/ from the code: commands, environment, stream-file keys, topics and metrics.

``python docs/generate.py`` writes the pages; `tests/unit/test_reference.py` fails if they differ from the code.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import docstring_parser
import msgspec

from millstream import Alertmanager, BatchModel, Calendar, Feature, Retention, Rule, Source, Stream, Watch, Webhook
from millstream.cli import app as cli
from millstream.observability.prometheus.catalog import METRICS
from millstream.stream.parameter_groups import GROUPS
from millstream.topics.acls import reads, writes
from schemas.topics import KINDS, Names, specs

HERE: Final = Path(__file__).resolve().parent / "reference"
_DAY_MS: Final = 24 * 3600 * 1000
_NOTE: Final = "<!-- Written by docs/generate.py from the code: change it there. -->\n"
ENVIRONMENT: Final[Mapping[str, str]] = types.MappingProxyType(
    {
        "MILLSTREAM_STREAM": "Stream file, or name of a ready-made stream, where a command line names none.",
        "MILLSTREAM_CONFIG": "Path of the configuration file [default: `millstream.toml` in the current folder].",
        "MILLSTREAM_KAFKA_<OPTION>": "An option of the Kafka client, as `MILLSTREAM_KAFKA_SECURITY_PROTOCOL=SASL_SSL`; "
        "also a key in `[kafka]` of the file. See [your own Kafka](../kafka.md).",
        "MILLSTREAM_REGISTRY_<OPTION>": "An option of the schema registry: `URL`, `USER`, `PASSWORD`, `PASSWORD_FILE`, "
        "`CA`, `TIMEOUT`, `AUTO_REGISTER`; also a key in `[registry]` of the file. See [clients](../clients.md).",
        "MILLSTREAM_CACHE": "Folder for Kafka's jars and its start-up cache [default: `~/.cache/millstream`].",
        "MILLSTREAM_MAVEN_REPOSITORY": "Address of the Maven repository with Kafka's jars.",
        "MILLSTREAM_PRIVATE_VALUES_KEY": "Secret of the hashes of private values, 64 hexadecimal digits; see "
        "[monitoring](../monitoring.md#private-features).",
        "MILLSTREAM_FAILPOINTS": "For tests: points at which a process fails; see "
        "[reliability](../reliability.md#failpoints).",
        "MILLSTREAM_ROLE_EVENTS": "Set by `millstream run` for its children: the descriptor for their events.",
        "MILLSTREAM_SUPERVISOR": "Set by `millstream run` for its children: the process whose end also ends them.",
        "MILLSTREAM_TRAINING_NICENESS": "Niceness of trainings, 0 to 19 (19); see [batch models](../batch.md#limits).",
        "MILLSTREAM_TRAINER_PID": "Set by a trainer in the process that trains: it ends when the trainer has ended.",
    }
)


def commands() -> str:
    """Return the page of all commands and their options."""
    app = cli.build({}, "none")
    # The names in usage lines of commands are taken from here, and those of `python -m …` have several words.
    before, sys.argv = sys.argv, [app.name[0], *sys.argv[1:]]
    try:
        text = app.generate_docs(output_format="markdown", heading_level=1)
    finally:
        sys.argv = before
    return text.replace("# millstream\n", f"# Commands\n\n{_NOTE}\n", 1)


def environment() -> str:
    """Return the page of all environment variables."""
    options: dict[str, set[str]] = {}
    for chain, command in _commands(cli.build({}, "none")):
        for argument in command.assemble_argument_collection():
            name = argument.names[0]
            if name.startswith("--"):
                variable = "MILLSTREAM_" + name.removeprefix("--").replace("-", "_").upper()
                options.setdefault(variable, set()).add(" ".join(chain))
    total = sum(1 for _ in _commands(cli.build({}, "none")))
    rows = [(f"`{each}`", _option(each), _users(options[each], total)) for each in sorted(options)]
    return "\n".join(
        (
            "# Environment variables and the configuration file",
            "",
            _NOTE,
            "Every option of every command is also an environment variable, `MILLSTREAM_<OPTION>`, and a key in",
            "`millstream.toml`: at the top for all commands, or in a table named after one command. A flag overrides",
            "the environment, and the environment overrides the file.",
            "",
            "## Options",
            "",
            *_table(("variable", "option", "of"), rows),
            "",
            "## Others",
            "",
            *_table(("variable", "meaning"), [(f"`{name}`", text) for name, text in ENVIRONMENT.items()]),
            "",
        )
    )


def stream_file() -> str:
    """Return the page of all that a stream file may say."""
    sections: list[str] = []
    for kind in (
        Stream,
        *GROUPS.values(),
        BatchModel,
        Watch,
        Rule,
        Webhook,
        Alertmanager,
        Calendar,
        Source,
        Feature,
        Retention,
    ):
        sections += [f"## {kind.__name__}", "", *_keys(kind), ""]
    intro = (
        "A stream file is Python: one file, one `Stream`. `millstream check FILE.py` checks it.",
        "Everything that a first stream does not need is in groups, which are imported from `millstream`:",
        "",
        "```python",
        'Stream(..., labels=Labels(wait="7d", on_timeout=False), checkpoints=Checkpoints(every="30s"))',
        "```",
    )
    return "\n".join(("# Stream file", "", _NOTE, *intro, "", *sections))


def topics() -> str:
    """Return the page of a stream's topics."""
    names = Names("stream", models=("forest",), takes_metrics=True)
    rows = []
    for spec in specs(names, partitions=4, label_wait_ms=_DAY_MS):
        kind = names.kind(spec.name)
        rows.append(
            (
                f"`{spec.name.replace('stream.', 'STREAM.')}`",
                "as `partitions`" if spec.partitions > 1 else "1",
                spec.config["cleanup.policy"],
                _retention(spec.config.get("retention.ms")),
                _roles(writes(), kind),
                _roles(reads(), kind),
            )
        )
    return "\n".join(
        (
            "# Topics",
            "",
            _NOTE,
            "The topics of a stream, as `millstream topics create` makes them. With a `Labels(wait=…)` of more than",
            "two days, predictions and labels are kept for three times the wait plus a day. If public predictions are",
            "not complete (`Predictions(format=…)`, `Predictions(features=False)`), `STREAM.answers` holds the",
            "complete ones, with the settings of `STREAM.predictions`. Only a stream with several models has",
            "`STREAM.shadows` and `STREAM.comparisons`, and only there a learner writes to `STREAM.decisions`.",
            'Only a stream with `metrics_from="http"` has `STREAM.metrics`.',
            "`topics acls` prints the rights of each role.",
            "",
            *_table(("topic", "partitions", "cleanup", "kept for", "written by", "read by"), rows),
            "",
        )
    )


def metrics() -> str:
    """Return the page of all metrics."""
    rows = [
        (f"`{name}`", each.kind, ", ".join(f"`{label}`" for label in each.labels) or "–", each.help)
        for name, each in METRICS.items()
    ]
    return "\n".join(
        (
            "# Metrics",
            "",
            _NOTE,
            "Roles serve these to Prometheus at `--metrics-port`. Each also has the labels `stream` and `role`.",
            "[Monitoring](../monitoring.md) explains them.",
            "",
            *_table(("metric", "kind", "labels", "meaning"), rows),
            "",
        )
    )


PAGES: Final[Mapping[str, Callable[[], str]]] = types.MappingProxyType(
    {
        "commands.md": commands,
        "environment.md": environment,
        "stream-file.md": stream_file,
        "topics.md": topics,
        "metrics.md": metrics,
    }
)


def _commands(within: Any, chain: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name in within:
        if name.startswith("-"):
            continue
        if within[name].default_command is not None:
            yield (*chain, name), within[name]
        yield from _commands(within[name], (*chain, name))


def _option(variable: str) -> str:
    return f"`--{variable.removeprefix('MILLSTREAM_').lower().replace('_', '-')}`"


def _users(of: set[str], total: int) -> str:
    if len(of) > total // 2:
        return "most commands"
    return ", ".join(f"`{each}`" for each in sorted(of))


def _keys(kind: type) -> list[str]:
    """Return the table of what a class is made with: its docstring's parameters, with their defaults."""
    described: dict[str, str] = {}
    for each in docstring_parser.parse(kind.__doc__ or "", style=docstring_parser.DocstringStyle.NUMPYDOC).params:
        for name in re.split(r",\s*", each.arg_name):
            described[name] = " ".join((each.description or "").split()).replace("``", "`")
    rows = [(f"`{name}`", default, described.get(name, "")) for name, default in _defaults(kind)]
    return [" ".join((kind.__doc__ or "").split("\n")[0].split()), "", *_table(("key", "default", "meaning"), rows)]


def _defaults(kind: type) -> Iterator[tuple[str, str]]:
    if dataclasses.is_dataclass(kind):
        for field in dataclasses.fields(kind):
            if field.default is not dataclasses.MISSING:
                yield field.name, f"`{field.default!r}`"
            elif field.default_factory in GROUPS.values():
                yield field.name, f"`{field.default_factory.__name__}()`"
            elif field.default_factory is not dataclasses.MISSING:
                yield field.name, f"`{field.default_factory()!r}`"
            else:
                yield field.name, "required"
    else:
        for each in msgspec.structs.fields(kind):
            yield each.name, f"`{each.default!r}`" if each.default is not msgspec.NODEFAULT else "required"


def _retention(milliseconds: str | None) -> str:
    if milliseconds is None or int(milliseconds) < 0:
        return "ever"
    return f"{int(milliseconds) // _DAY_MS} days"


def _roles(table: Mapping[str, Sequence[str]], kind: str) -> str:
    kinds = {kind, "whole"} if kind == "predictions" else {kind}
    named = [role for role, has in table.items() if kinds & set(has) and not set(KINDS) <= set(has)]
    return ", ".join(named) or "–"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
    return lines + [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]


def main() -> None:
    """Write all pages."""
    HERE.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (HERE / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
