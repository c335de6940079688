"""Names that lead elsewhere, at every argument and option of the command line that names something (S4).

The arguments are taken from the app itself: a new one is tried too, once it is said here what it is.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import cyclopts
import pytest

from millstream.cli import app as cli
from millstream.cli.shared_options import Where, names_of
from millstream.config import settings
from millstream.embedded_kafka import broker
from millstream.stream.errors import LoadError
from millstream.stream.load import load_stream
from runtime.kafka_client.cluster import NoBroker
from schemas.topics import PREFIX, InvalidName

HOSTILE: Final = [
    # up, and up in disguise
    "..", ".", "../x", "../../x", "../../../../../../tmp/x", "a/../../x", "./../x", "x/..", "x/../../y", "....//x",
    "..\\x", "..\\..\\x", "a\\..\\..\\x", "..%2fx", "%2e%2e%2fx", "%2e%2e/x", "..%252fx", "..%c0%afx", "%2e", "..;/x",
    # absolute, drives, addresses
    "/x", "//x", "/etc/passwd/x", "/proc/self/environ/x", "/dev/null/x", "C:\\x", "C:x", "\\\\host\\share", "\\x",
    "file:///x", "file://../x", "http://127.0.0.1:1/x", "s3://bucket/x", "jar:file:///x!/y", "data:,x",
    # what a shell, a URL or a format would read into it
    "~", "~/x", "~root/x", "$HOME/x", "$(touch x)", "`touch x`", "x;touch y", "x|touch y", "x&&touch y", "${HOME}",
    "{0.__class__}", "%(home)s", "%s%n", "#", "x#y", "?x", "x?y=z", "*", "[a-z]", "{a,b}",
    # control characters, and letters that look like others
    "x\0", "\0", "x\0.py", "x\r\ny", "x\ny", "\n", "x\ty", "\x1b[2J", "\x7f", "\u202ex", "\u2024\u2024/x",
    "\uff0e\uff0e\uff0fx", "\u2215x", "\uff0fx", "x\u200by", "p\u0266ishing", "рhishing", "\udcff",
    # empty, spaces, too long, names that mean something to a system or to us
    "", " ", " x", "x ", "x y", "x" * 300, "x" * 5000, "CON", "NUL.txt", "aux.", "x.", ".hidden", "-x/../y", "_x",
    "a_b", "x.y", "X", "phishing/", "phishing/../x", "1/1/../../x", "1/1\n", "-1/1", "1/../1", "1e3/1", "٣/٣", "0x1/1",
]  # fmt: skip

Kind = Literal["stream", "name", "file", "text", "place", "typed"]
# By command and argument, or by argument alone. A name is what must be refused; a stream, a name or a file that is
# there; a file is read if it is there; a text is kept or looked for as it is, and names nothing; a place is where
# somebody wants Millstream's own files to be, wherever that is.
KINDS: Final[dict[str, Kind]] = {
    "STREAM": "stream",
    "NAME": "name",
    "VERSION": "name",
    "MODEL": "name",
    "--model": "name",
    "models history --at": "text",
    "models compare --from": "name",
    "models compare --to": "name",
    "KEY_ID": "name",
    "--instance": "name",
    "--prefix": "name",
    "models verify --from": "name",
    "models rebuild --from": "name",
    "--without": "file",
    "--where": "text",
    "--labels-from": "text",
    "--labels-to": "text",
    "--until-idle": "name",
    "--label-delay": "name",
    "--interval": "name",
    "init --from": "file",
    "check --from": "file",
    "evaluate --on": "file",
    "--by": "text",
    "--png": "place",
    "--html": "place",
    "drift --feature": "text",
    "drift --since": "name",
    "performance --from": "name",
    "performance --to": "name",
    "performance --metric": "name",
    "--from-topic": "text",
    "--labels-from-topic": "text",
    "--file": "file",
    "SOURCE": "file",
    "FILE": "file",
    "EVENT_ID": "text",
    "VALUE": "text",
    "--label": "text",
    "--id": "text",
    "--time": "text",
    "--why": "text",
    "TOPIC": "text",
    "--into": "text",
    "--into-bootstrap": "place",
    "replay --from": "text",
    "replay --to": "text",
    "backfill --from": "text",
    "backfill --to": "text",
    "models evaluate --from": "text",
    "models evaluate --to": "text",
    "train --from": "text",
    "train --to": "text",
    "JOB": "text",
    "--rate": "name",
    "--reason": "text",
    "--diff": "name",
    "--stage": "text",
    "--key": "text",
    "--offsets": "name",
    "models export --to": "place",
    "TO": "place",
    "FROM": "place",
    "--speed": "name",
    "--role": "name",
    "--principal": "text",
    "--metrics-host": "place",
    "--metrics-socket": "place",
    "--host": "name",
    "--allowed-host": "text",
    "--tls-cert": "file",
    "--tls-key": "file",
    "--scope": "name",
    "--expires": "name",
    "alerts silence --for": "name",
    "alerts ack NAME": "text",
    "alerts silence NAME": "text",
    "alerts unsilence NAME": "text",
    "TARGET": "name",
    "--spool": "name",
    "--remember": "name",
    "--drain": "name",
    "--largest-body": "name",
    "--largest-event": "name",
    "--largest-upload": "name",
    "--upload-spool": "name",
    "--upload-expires": "name",
    "--bootstrap": "place",
    "--home": "place",
    "--store": "place",
}
GOOD: Final = {
    "STREAM": "phishing", "NAME": "mine", "VERSION": "1/1", "KEY_ID": "0" * 16, "SOURCE": "river:Phishing",
    "FILE": "rows.csv", "EVENT_ID": "e1", "VALUE": "true", "MODEL": "main",
    "TOPIC": "features", "--into": "x", "--on": "river:Phishing", "TO": "backup", "FROM": "backup", "--to": "x.tar",
    "--scope": "predict", "--for": "2h", "TARGET": "ops", "JOB": "gbdt.1",
}  # fmt: skip
# What a command says that took the name for one, and went on to a broker.
REACHED: Final = "a broker was asked for"


@cache
def app() -> cyclopts.App:
    return cli.build({}, "none")


def commands(within: cyclopts.App, chain: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], cyclopts.App]]:
    for name in within:
        if name.startswith("-"):
            continue
        command = within[name]
        if command.default_command is not None:
            yield (*chain, name), command
        yield from commands(command, (*chain, name))


def arguments(command: cyclopts.App) -> tuple[tuple[str, Any, bool], ...]:
    """Return name, type and whether it is required of every argument and option, those of `Where` as well."""
    found = command.assemble_argument_collection()
    return tuple((each.names[0], each.hint, each.required) for each in found if each.names != ("*",))


def kind_of(command: tuple[str, ...], name: str, hint: Any) -> Kind:
    given = KINDS.get(f"{' '.join(command)} {name}") or KINDS.get(name)
    if given is not None:
        return given
    parts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    typed = all(typing.get_origin(part) is Literal or part in (bool, int, float, type(None)) for part in parts)
    assert typed, f"say in KINDS what {name} of `millstream {' '.join(command)}` names: {hint}"
    return "typed"


ARGUMENTS: Final = {chain: arguments(command) for chain, command in commands(app())}
EVERY: Final = [
    (chain, name, kind_of(chain, name, hint), hint) for chain, found in ARGUMENTS.items() for name, hint, _ in found
]
NAMES: Final = list(dict.fromkeys(name for _, name, _, _ in EVERY))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work deep in an empty folder, with a home beside, and without any Kafka."""
    cwd = tmp_path / "a" / "b" / "c" / "cwd"
    cwd.mkdir(parents=True)
    (cwd / "rows.csv").write_text("x,is_phishing\n1,1\n0,0\n")
    (tmp_path / "user").mkdir()
    monkeypatch.chdir(cwd)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("MILLSTREAM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MILLSTREAM_LOG_FORMAT", "text")  # as on a terminal, where a role's error is a line for people
    monkeypatch.setattr(cli, "build", lambda file, path: app())

    def reached(*_: Any, **__: Any) -> Any:
        raise NoBroker(REACHED)

    monkeypatch.setattr(settings.Settings, "cluster", reached)
    monkeypatch.setattr("millstream.processes.http_roles._WAIT_S", 0.0)  # a server would wait for Kafka
    monkeypatch.setattr(broker.EmbeddedBroker, "start", reached)
    return tmp_path


def line_of(chain: tuple[str, ...], name: str, value: str) -> list[str]:
    """Return a command line that is right but for one argument."""
    given: list[str] = []
    options: list[str] = []
    for each, _, required in ARGUMENTS[chain]:
        if each.startswith("-"):
            options += [f"{each}={value if each == name else GOOD[each]}"] if each == name or required else []
        elif each == name or required or name in ("VERSION",):
            given.append(value if each == name else GOOD[each])
    return [*chain, *options, "--", *given]


def written(place: Path) -> set[str]:
    """Return what is there beside Millstream's home."""
    return {str(path.relative_to(place)) for path in place.rglob("*") if place / "home" not in (path, *path.parents)}


def test_there_are_as_many_as_promised() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) >= 60
    assert len(EVERY) >= 150
    known = {name for _, name, _, _ in EVERY} | {f"{' '.join(chain)} {name}" for chain, name, _, _ in EVERY}
    assert set(KINDS) <= known, "what is no argument any more"


@pytest.mark.parametrize(
    ("chain", "name", "kind"),
    [
        pytest.param(chain, name, kind, id=f"{'-'.join(chain)} {name}")
        for chain, name, kind, _ in EVERY
        if kind != "place"
    ],
)
def test_a_name_that_leads_elsewhere_is_refused_in_one_line(
    chain: tuple[str, ...],
    name: str,
    kind: Kind,
    place: Path,
    capsys: pytest.CaptureFixture[str],
    rounds: Callable[[int, int], int],
) -> None:
    before = written(place)
    wrong: list[str] = []
    # In `make test` a part at each: what many commands have, they try between them; what one has, begins elsewhere.
    having = [each for each, of, same, _ in EVERY if (of, same) == (name, kind)]
    step = 1 if rounds(0, 1) else min(24, max(len(having), 12 if kind == "name" else 24))
    for value in HOSTILE[(NAMES.index(name) + having.index(chain)) % step :: step]:
        if (not value.strip() and name.startswith("-")) or (name == "--prefix" and PREFIX.fullmatch(value)):
            continue  # as if it were not given; or one that anybody may have
        code = cli.run(line_of(chain, name, value))
        said = capsys.readouterr()
        wrong += [f"{value[:40]!r}: {what}" for what in faults(kind, code, said.err)]
        if (more := written(place) - before) != set():
            wrong.append(f"{value[:40]!r} wrote {sorted(more)}")
    assert not wrong, f"{len(wrong)} of {len(HOSTILE)}: " + ascii("; ".join(wrong[:15]))


@pytest.mark.parametrize("value", HOSTILE, ids=ascii)
def test_no_stream_is_known_by_a_name_that_leads_elsewhere(value: str, place: Path) -> None:
    before = written(place)
    where = Where(home=place / "home").settings()
    with pytest.raises((LoadError, InvalidName, OSError)) as refused:
        names_of(value, where, lambda names: False)
    assert len(cli.one_line(str(refused.value))) <= 2100
    with pytest.raises((LoadError, InvalidName, OSError)):
        load_stream(value)
    assert written(place) == before


def faults(kind: Kind, code: int, errors: str) -> Iterator[str]:
    if "Traceback" in errors or errors.count("\n") > 1:
        yield f"not one line: {errors[-200:]}"
    if "defect" in errors:
        yield errors
    if kind in ("text",):
        return
    if code == 0:
        yield "accepted"
    elif REACHED in errors and kind not in ("stream", "file"):  # those are looked for after that: see the next test
        yield "taken for a name"
    elif len(errors) > 2100 or not errors[:-1].isprintable():
        yield f"no line for a terminal: {errors[:200]!r}"
