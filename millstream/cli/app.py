"""App of the command line: built from all commands; turns each error into one line and an exit code."""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any, Final

import cyclopts

from millstream.cli import (
    acls,
    alerts,
    backfill,
    backup,
    broker,
    check_and_init,
    compare,
    console,
    drift,
    evaluate,
    evaluate_versions,
    export,
    http,
    import_onnx,
    jobs,
    keys,
    models,
    performance,
    preview,
    publish,
    read_topics,
    rebuild,
    replay,
    roles,
    status,
    tokens,
    topics,
    trace,
    train,
    uploads,
    version_code,
    version_decisions,
)
from millstream.cli import run as run_command
from millstream.config.errors import SettingsError
from millstream.config.precedence import under_the_flags
from millstream.config.settings import read_config
from millstream.observability import role_log
from runtime.exits import FAILED, INTERRUPTED, OK, USAGE
from runtime.kafka_client.client import LOGGER as CLIENT_LOGGER

_PACKAGES: Final = frozenset(
    {"runtime", "schemas", "model_store", "producers", "consumers", "server", "millstream", "streams"}
)
_LONGEST_LINE: Final = 2000
_HELP: Final = (
    "An online learner on Kafka, with River models. Start with `millstream demo`.\n\n"
    "Every option is also an environment variable, MILLSTREAM_<OPTION>, and a key in millstream.toml (at the top for "
    "all commands, or in a table named after one). A flag overrides the environment; that overrides the file."
)


def build(file: Mapping[str, Any], path: str) -> cyclopts.App:
    """Return the app, its options taken from flags, the environment and `file` (read from `path`)."""
    app = cyclopts.App(
        name="millstream",
        help=_HELP,
        help_format="plaintext",
        config=under_the_flags(file, path),
        version=lambda: metadata.version("millstream"),
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    for part in (run_command, roles, check_and_init, evaluate, preview, drift):
        part.register(app)
    for part in (publish, read_topics, alerts, replay, backfill, trace, performance, train, jobs):
        part.register(app)
    for part in (models, keys, tokens, status, backup, topics, broker, http, uploads, console):
        part.register(app)
    # These add themselves to `models` and `topics`.
    _ = version_decisions, version_code, rebuild, compare, evaluate_versions, import_onnx, export, acls
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code, one of `runtime.exits`."""
    role_log.begin("text")
    # Otherwise the client's log would report an unavailable broker a second time.
    logging.getLogger(CLIENT_LOGGER).setLevel(logging.CRITICAL)
    # Answers are checked for invalid numbers; an estimator would also warn about each one, event by event.
    warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"sklearn\.")
    try:
        path, file = read_config()
        app = build(file, str(path))
        _refuse_unknown_keys(app, file, str(path))
        code = app(list(arguments))
        sys.stdout.flush()
    except BrokenPipeError:
        return _reader_gone()
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the only place where an error becomes a line and an exit code
        return _explain(error)
    return code if isinstance(code, int) else OK


def _explain(error: Exception) -> int:
    if isinstance(error, cyclopts.CycloptsError):
        return _say(f"{error} (see `{_command(error)} --help`)", USAGE)
    # Imported only here, because --help does not need it.
    from millstream.cli.shared_options import UsageError
    from millstream.stream.duration import InvalidDuration
    from runtime.kafka_client.errors import KafkaError, error_name
    from schemas.topics import InvalidName

    if isinstance(error, (UsageError, SettingsError, InvalidDuration, InvalidName)):
        return _say(str(error), USAGE)
    if isinstance(error, KafkaError):
        # Most errors of the client begin with their own name.
        name, text = error_name(error), str(error)
        return _say(f"Kafka: {text}" if text.startswith(name) else f"Kafka: {name}: {text}", FAILED)
    if isinstance(error, OSError) or _is_ours(error):
        return _say(str(error) or type(error).__name__, getattr(error, "exit_code", FAILED))
    if not role_log.structured():
        traceback.print_exception(error)
    said = f"{type(error).__name__}: {error} - this is a defect in Millstream; please report it"
    return _say(said, FAILED, **role_log.defect(error))


def _is_ours(error: Exception) -> bool:
    """Return whether an exception has a message for users: Millstream's have one, Python's built-in ones do not."""
    return type(error).__module__.partition(".")[0] in _PACKAGES


def _say(message: str, code: int, **fields: str) -> int:
    line = one_line(message)
    role_log.fail(
        line if role_log.structured() else f"millstream: error: {line}", event="failed", exit_code=code, **fields
    )
    return code


def one_line(message: str) -> str:
    """Return a message that is safe for a terminal: user input may contain control characters, or be very long."""
    line = " ".join(message.split())
    if len(line) > _LONGEST_LINE:
        line = f"{line[: _LONGEST_LINE // 2]} … {line[-_LONGEST_LINE // 2 :]}"
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)


def _command(error: cyclopts.CycloptsError) -> str:
    return " ".join(("millstream", *(error.command_chain or ())))


def _reader_gone() -> int:
    """End quietly, because the reader of the output (such as `head`) has closed it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return OK


def _refuse_unknown_keys(app: cyclopts.App, file: Mapping[str, Any], path: str) -> None:
    """Raise SettingsError for an unknown key; otherwise a misspelt key would silently have no effect."""
    tables = {name.replace("-", "_") for name in app if not name.startswith("-")} | {"kafka", "registry"}
    options = None
    for key, value in file.items():
        name = key.replace("-", "_")
        if isinstance(value, dict):
            if name not in tables:
                raise SettingsError(f"{path}: [{key}] is neither a command nor [kafka] or [registry]")
            continue
        options = option_names(app) if options is None else options
        if name not in options:
            raise SettingsError(f"{path}: {key} is no option of any command")


def option_names(app: cyclopts.App) -> set[str]:
    """Return the options of all commands, spelt with `_`."""
    found: set[str] = set()
    for name in app:
        if name.startswith("-"):
            continue
        command = app[name]
        found |= option_names(command)
        if command.default_command is None:
            continue
        for argument in command.assemble_argument_collection():
            found |= {each.lstrip("-").replace("-", "_").lower() for each in argument.names}
    return found
