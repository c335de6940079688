"""Options that several commands share, and the printing of results: JSON, tables, fields."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

from cyclopts import Parameter

from millstream.config.precedence import kafka_options
from millstream.config.schema_registry_options import registry_options
from millstream.config.settings import DEFAULT_HOME, Settings, read_config
from runtime.kafka_client.library_names import DEFAULT as DEFAULT_CLIENT
from runtime.kafka_client.library_names import LibraryName

if TYPE_CHECKING:
    from rich.console import Console

    from millstream.stream.load import LoadedStream
    from runtime.kafka_client.cluster import Cluster
    from schemas.topics import Names

STREAM_HELP = "Path of a stream file, or name of a stream."
FILE_HELP = "Path of a stream file, or name of a ready-made stream."
StreamFileName: TypeAlias = Annotated[str, Parameter(name="STREAM", help=FILE_HELP)]
StreamName: TypeAlias = Annotated[str, Parameter(name="STREAM", help=STREAM_HELP)]
_BETWEEN: Final = 3  # characters between two columns of a table

CodePolicy: TypeAlias = Annotated[
    Literal["own", "version"],
    Parameter(
        name="--code",
        help="Code for a version whose definition differs from the stream file: version (run the signed code that the "
        "version carries) or own (refuse the version).",
    ),
]

Json: TypeAlias = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON instead of a table.")]


class UsageError(Exception):
    """An argument is invalid; the message says which values are valid. Exit code 2."""


@Parameter(name="*", group="Connection and storage")
@dataclass(frozen=True)
class Where:
    """The options of every command that touches a cluster or the home folder."""

    home: Path = DEFAULT_HOME
    """Folder for keys, models, local state and the embedded broker."""

    bootstrap: str | None = None
    """host:port of a Kafka to use instead of the embedded broker."""

    prefix: str = ""
    """Text before every topic, group and transactional id, so that streams can share a cluster."""

    store: str | None = None
    """Address of the model store [default: models/ in the home folder]."""

    client: LibraryName = DEFAULT_CLIENT
    """Kafka client: kafka-python, or librdkafka (faster; in the extra `fast`)."""

    def settings(self) -> Settings:
        """Return the settings: these options, and the client's from the environment and the file."""
        from schemas.topics import check_prefix

        check_prefix(self.prefix)
        _, file = read_config()
        return Settings(
            home=self.home.expanduser().absolute(),
            bootstrap=self.bootstrap or None,
            prefix=self.prefix,
            kafka=kafka_options(file),
            store=self.store or None,
            registry=registry_options(file),
            client=self.client,
        )


@Parameter(name="*", group="Connection and storage")
@dataclass(frozen=True)
class WhereWithBroker(Where):
    """The same for a command that may start the embedded broker."""

    broker_compiler: Annotated[
        Literal["c1", "c2"],
        Parameter(
            help="Compilers of the embedded Kafka's Java, when it is started: c1 (starts with little work) or c2 "
            "(faster once warm, for more CPU in the first minutes and more memory)."
        ),
    ] = "c1"

    def settings(self) -> Settings:
        """Return the settings, with those of the broker."""
        return replace(super().settings(), broker_compiler=self.broker_compiler)


HERE = Where()
HERE_WITH_BROKER = WhereWithBroker()


def print_json(value: Any) -> None:
    """Print one JSON document on one line; numbers unrounded, NaN as null."""
    import msgspec

    print(msgspec.json.encode(value, enc_hook=str, order=None).decode(), flush=True)


def console(*, stderr: bool = False) -> Console:
    """Return a console; without a terminal, one wide enough that nothing is cut for scripts."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, highlight=False, width=None if stream.isatty() else 240, soft_wrap=False)


def size_text(size_bytes: int) -> str:
    """Return a size for reading.

    >>> size_text(2_250), size_text(128_400_000)
    ('2.2 kB', '128.4 MB')
    """
    return f"{size_bytes / 1e3:,.1f} kB" if size_bytes < 1e6 else f"{size_bytes / 1e6:,.1f} MB"


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    title: str | None = None,
    *,
    spare: Sequence[str] = (),
    cut: Mapping[str, int] = MappingProxyType({}),
    stderr: bool = False,
) -> None:
    """Print a table; cells are shown unchanged, without any markup.

    Parameters
    ----------
    spare
        Columns to leave out, in this order, if all together are too wide for the terminal.
    cut
        Columns to shorten after that, in this order, and how many characters of each stay at least.
        With any, a row is one line.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    screen = console(stderr=True) if stderr else console()
    cells = [[cell(value) for value in row] for row in rows]
    if cut:
        cells = [[" ".join(text.split("\n")) for text in row] for row in cells]
    widths = _widths(columns, cells, screen.width, spare, cut)
    table = Table(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False)
    for name, width in widths.items():
        if cut:
            table.add_column(name, no_wrap=True, overflow="ellipsis", width=width)
        else:
            table.add_column(name, overflow="fold", min_width=len(name))
    shown = [index for index, name in enumerate(columns) if name in widths]
    for row in cells:
        table.add_row(*(Text(row[index]) for index in shown))
    screen.print(table)


def _widths(
    columns: Sequence[str], cells: Sequence[Sequence[str]], room: int, spare: Sequence[str], cut: Mapping[str, int]
) -> dict[str, int]:
    """Return the columns to show and their widths in characters; a column is at least as wide as its heading."""
    from rich.cells import cell_len

    widths = {name: max(len(name), *(cell_len(row[index]) for row in cells), 0) for index, name in enumerate(columns)}

    def least(name: str) -> int:
        return min(widths[name], max(len(name), cut.get(name, widths[name])))

    for name in spare:
        if sum(map(least, widths)) + _BETWEEN * len(widths) > room:
            widths.pop(name, None)
    for name in cut:
        if name in widths:
            over = sum(widths.values()) + _BETWEEN * len(widths) - room
            widths[name] = max(least(name), widths[name] - max(0, over))
    return widths


def print_fields(fields: Mapping[str, object]) -> None:
    """Print names and values, one on each line; if a value is a list, each item on its own line."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        several = value if isinstance(value, (list, tuple)) and value else (value,)
        for index, each in enumerate(several):
            print(f"{'' if index else name:<{width}}  {cell(each)}")


def cell(value: object) -> str:
    """Return a value as text for a table."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        # NaN means not measured.
        return "–" if isnan(value) else f"{value:.6g}"
    # Control characters in data would otherwise move the terminal's cursor.
    return "".join(
        letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in str(value)
    )


def moment_of(text: str, option: str = "") -> int:
    """Return a time of an option in ms since 1970. Raises UsageError if it is none, with the option's name if given."""
    from millstream.reading.timestamps import InvalidMoment, moment

    try:
        return moment(text)
    except InvalidMoment as error:
        raise UsageError(f"{option}: {error}" if option else str(error)) from error


def names_of(given: str, settings: Settings, known: Callable[[Names], bool]) -> Names:
    """Return the names of the stream that `given` means; for a plain name, no file is run.

    Parameters
    ----------
    known
        Returns whether a plain name that is not a ready-made stream belongs to an existing stream.

    Raises
    ------
    LoadError
        If it does not mean a stream.
    """
    from millstream.stream.errors import LoadError
    from millstream.stream.stream_file import not_found, ready_made

    if is_mere_name(given):
        names = settings.names(given)
        if given not in ready_made() and not known(names):
            raise LoadError(not_found(given))
        return names
    from millstream.stream.load import load_stream

    return settings.names(load_stream(given).stream)


def has_topics(cluster: Cluster) -> Callable[[Names], bool]:
    """Return a function that returns whether a stream has any topic on the cluster."""
    from schemas.topics import KINDS

    return lambda names: bool(cluster.topic_info(*(names.topic(kind) for kind in KINDS)))


def full_names(given: str, settings: Settings, cluster: Cluster) -> Names:
    """Return the names of a stream that has topics, like `names_of`; for a plain name, completed from its groups."""
    from millstream.status.group_metadata import recalled

    names = names_of(given, settings, has_topics(cluster))
    return recalled(cluster, names) if is_mere_name(given) else names


def load_named(given: str, settings: Settings, code: str = "version") -> LoadedStream:
    """Return the stream that `given` means: of a file, ready-made, or of a mere name as its newest version carries it.

    Parameters
    ----------
    code
        As `--code`: with ``own`` no code of a version may run, so a mere name is not enough.

    Raises
    ------
    LoadError
        If it means no stream, or only a file could say what the stream is.
    """
    from millstream.stream.errors import LoadError
    from millstream.stream.load import load_stream
    from millstream.stream.stream_file import not_found, ready_made
    from millstream.version_code.newest_code import stream_of_newest
    from model_store import open_store

    if not is_mere_name(given) or given in ready_made():
        return load_stream(given)
    if code == "own":
        raise UsageError(f"--code own runs no code of a version: name the file of {given}, such as {given}.py")
    store = open_store(settings.models, settings.keys, sign=False)
    found = stream_of_newest(store, given, lambda line: print(line, file=sys.stderr, flush=True))
    if found is None:
        raise LoadError(f"{not_found(given)} (and no version in the model store carries the code of {given})")
    return found


def load_file(given: str, command: str) -> LoadedStream:
    """Return the stream of a file, or a ready-made one; `command` runs what the file says now, so no name is enough.

    Raises
    ------
    LoadError
        If it means no stream.
    """
    from millstream.stream.errors import LoadError
    from millstream.stream.load import load_stream
    from millstream.stream.stream_file import not_found, ready_made

    if is_mere_name(given) and given not in ready_made():
        raise LoadError(
            f"{not_found(given)}. `millstream {command}` needs the file, because it goes by what the file says now; "
            "other commands also take the name alone"
        )
    return load_stream(given)


def is_mere_name(given: str) -> bool:
    """Return whether a stream is named, and not a file."""
    from schemas.topics import NAME

    return NAME.fullmatch(given) is not None and not Path(given).is_file()


def to_create(given: str) -> str:
    """Return the argument of `millstream topics create` for the stream `given`, which a plain name cannot be."""
    from millstream.stream.stream_file import ready_made

    return given if Path(given).is_file() or given.replace("_", "-") in ready_made() else "FILE.py"


@contextmanager
def filling_in(given: str) -> Iterator[None]:
    """Complete the command in errors about missing topics, so that it can be copied."""
    from millstream.versions.decisions import NotDecided
    from runtime.kafka_client.cluster import MissingTopic

    try:
        yield
    except (MissingTopic, NotDecided) as error:
        command = f"`millstream topics create {to_create(given)}`"
        said = str(error)
        for blank in ("`millstream topics create STREAM`", "`millstream topics create`"):
            said = said.replace(blank, command)
        raise type(error)(said) from error


def at(milliseconds: int | None) -> str | None:
    """Return ms since 1970 as local date and time, to the millisecond."""
    if milliseconds is None or milliseconds < 0:
        return None
    from datetime import datetime

    return datetime.fromtimestamp(milliseconds / 1000).astimezone().isoformat(" ", "milliseconds")[:23]


_SIZES: Final = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


def byte_count(option: str, text: str) -> int:
    """Return a size such as `64MiB`, in bytes. Raises UsageError."""
    number, unit = (text[:-3], text[-3:]) if text[-3:] in _SIZES else (text, "")
    if not (number.isascii() and number.isdecimal() and len(number) < 16):
        raise UsageError(f"{option} {text} must be a number of bytes, or one with {', '.join(_SIZES)}, such as 64MiB")
    return int(number) * _SIZES.get(unit, 1)
