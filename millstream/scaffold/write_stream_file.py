"""Writer of a first stream file: `millstream init`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Final

from millstream.scaffold.choose_calendar import propose
from millstream.scaffold.choose_model import PACKAGES, Lost, Tried, choose
from millstream.scaffold.infer_topics import FoundTopics, LabelTopic
from millstream.scaffold.write_sources import events_lines, label_source_lines
from millstream.stream.errors import LoadError
from millstream.stream.stream_file import require_module_name
from producers.columns import Column
from producers.infer import Inferred
from schemas.contract import Contract
from schemas.target import Task
from schemas.topics import InvalidName, Names

_WIDTH: Final = 88
_MOST_CATEGORIES: Final = 50


class InitError(Exception):
    """A stream file cannot be written; the message says why and what to do."""


def init(
    name: str,
    folder: Path,
    inferred: Inferred | None = None,
    source: str | None = None,
    topics: FoundTopics | None = None,
    say: Callable[[str], None] = lambda text: None,
    task: Task | None = None,
    calendar: bool = True,
) -> Path:
    """Write ``NAME.py`` into a folder and return its path; nothing is ever overwritten.

    Parameters
    ----------
    inferred
        Result of the inference from a file (`producers.infer.infer`): its features become the contract.
    source
        The user's name of that file, for the comment on how to try the stream.
    topics
        Result of the inference from external topics (`millstream.scaffold.infer_topics`), instead of a file.
    say
        Prints the model's result on the sample rows.
    task
        The task of a file to fill in, without `inferred` and `topics`.
    calendar
        Whether a `Calendar` is tried where a file has a column of the time.

    Raises
    ------
    InitError
        If the name is invalid for a stream, or a file of that name exists.
    """
    try:
        Names(name)
    except InvalidName as error:
        raise InitError(str(error)) from error
    path = folder / f"{name.replace('-', '_')}.py"
    try:
        require_module_name(path.stem, path)
    except LoadError as error:
        raise InitError(
            f"no stream can be called {name!r}: {error}".replace("rename the file", "take another name")
        ) from error
    there = f"{path} is there already and is left as it is; take another name or remove it"
    if path.exists():
        raise InitError(there)
    lines = list(_lines(name, path, inferred, source, topics, say, task or "binary", calendar))
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    except FileExistsError as error:
        raise InitError(there) from error
    except OSError as error:
        raise InitError(f"{path} cannot be written: {error.strerror}") from error
    return path


def _lines(
    name: str,
    path: Path,
    inferred: Inferred | None,
    source: str | None,
    topics: FoundTopics | None,
    say: Callable[[str], None],
    task: Task,
    calendar: bool,
) -> Iterator[str]:
    inferred = inferred if topics is None else topics.inferred
    task = inferred.task if inferred is not None else task
    columns = inferred.columns if inferred is not None else ()
    names = {"TEXTS": _discarded(columns)}
    chosen = choose(inferred, task, lambda learner: _model(task, columns, learner), names)
    proposed = None
    if calendar and topics is None:
        proposed = propose(inferred, task, chosen, lambda learner: _model(task, columns, learner, dated=True), names)
        chosen = proposed.tried if proposed is not None and proposed.helps else chosen
    model, tried = (chosen, None) if isinstance(chosen, list) else (chosen.lines, chosen)
    for each in filter(_is_unused, columns):
        say(f"{each.name}: the model does not use this text, as {each.missing:,} rows have none: write a word there")
    yield f'"""{name}: say here in a sentence what is predicted, and from what.'
    yield ""
    yield f"Check it: millstream check {path.name}{f' --from {_plain(source)}' if source else ''}"
    yield f"Run it: millstream run {path.name}"
    if topics is None:
        yield f"Send it events: millstream publish {path.name} {_plain(source) if source else 'FILE'} --rate 100"
    else:
        yield f"Look at its events: millstream preview {path.name}"
    yield '"""'
    yield ""
    yield from _imports(path, model, _ours(task, columns, topics, dated=proposed is not None and proposed.helps))
    yield ""
    if task != "anomaly" and any("*TEXTS" in line for line in model):
        yield "# These are no categories: they have too many values."
        yield from _sequence("TEXTS", _discarded(columns))
        yield ""
    yield "stream = Stream("
    yield f"    name={_quoted(name)},"
    yield f'    task="{task}",  # {_why(inferred, "task") or "binary, multiclass, regression or anomaly"}'
    yield "    # Called for each new model. Seeds belong inside it: Model(seed=42)."
    yield from _how_it_did(tried, say)
    yield from model
    yield from _target(inferred, files=topics is None)
    if proposed is not None:
        say(proposed.text)
        yield from proposed.lines() if proposed.helps else ()
    yield from _learning(task)
    if topics is None:
        yield from _features(columns, inferred.left_out if inferred is not None else {})
    else:
        yield from events_lines(topics, lambda column: _kind(column, _required(columns)), _seen, _quoted)
    yield from _labels(task, None if topics is None else topics.labels)
    if len(columns) > Contract().max_features:
        yield "    # An event with more features than this is refused."
        yield f"    validation=Validation(max_features={len(columns)}),"
    yield ")"


def _ours(task: Task, columns: Sequence[Column], topics: FoundTopics | None, *, dated: bool) -> list[str]:
    """Return the names of Millstream's that the file uses, as import sorters want them."""
    used = {
        "Calendar": dated,
        "Feature": bool(_required(columns)),
        "Labels": task != "anomaly" or (topics is not None and topics.labels is not None),
        "Source": topics is not None,
        "Stream": True,
        "Validation": len(columns) > Contract().max_features,
    }
    return [name for name, is_used in used.items() if is_used]


def _how_it_did(tried: Tried | Lost | None, say: Callable[[str], None]) -> Iterator[str]:
    if tried is None:
        return
    if isinstance(tried, Lost):
        best = tried.best
        say(
            f"no model beats {best.rival} on the rows that were looked at, so the file has that baseline as its model; "
            f"the best model, {tried.learner}: {best.text}"
        )
        yield f"    # This is the baseline, {best.rival}: no model that was tried beats it."
        yield "    # Other features, or another model, are needed. The best was"
        yield f"    # {tried.learner}:"
        yield _comment(f"{best.text}.", 4)
        return
    if tried.error == math.inf:
        say("the model takes no row that was looked at: write another one into the file")
        yield "    # It takes no row that was looked at: write another one."
        return
    say(f"the model: {tried.text}")
    yield f"    # {tried.text[0].upper()}{tried.text[1:]}."


def _target(inferred: Inferred | None, *, files: bool) -> Iterator[str]:
    if files:
        yield "    # The label's column in files; the others are features."
        if inferred is not None and (why := _why(inferred, "label")):
            yield _comment(f"{why[0].upper()}{why[1:]}.", 4)
        yield f"    label={_quoted(inferred.label if inferred and inferred.label else 'label')},"
    if inferred is None:
        yield "    # id=..., time=...: the columns that name an event and its time."
        return
    if inferred.positive is not None:
        yield f"    positive={_literal(inferred.positive)},  # the label that means True"
    if inferred.classes is not None:
        yield "    # Any other label is refused. Without this line all are taken."
        yield "    classes=("
        yield from (f"        {_literal(each)}," for each in inferred.classes)
        yield "    ),"
    if not files:
        return
    if inferred.id is not None:
        yield from _commented(f"    id={_quoted(inferred.id)},", _why(inferred, "id") or "names an event")
    elif why := _why(inferred, "id"):
        yield _comment(f"No id=: {why}", 4)
    if inferred.time is not None:
        yield from _commented(f"    time={_quoted(inferred.time)},", _why(inferred, "time"))
    elif why := _why(inferred, "time"):
        yield _comment(f"No time=: {why}", 4)


def _why(inferred: Inferred | None, what: str) -> str:
    """Return why something was taken, and the values seen there."""
    found = next((each for each in (inferred.choices if inferred else ()) if each.what == what), None)
    return "" if found is None else ": ".join(filter(None, (found.why, found.seen)))


def _commented(line: str, comment: str) -> Iterator[str]:
    """Yield a line with a comment behind it, or before it if both are too long."""
    if not comment or len(line) + 4 + len(comment) <= _WIDTH:
        yield f"{line}  # {comment}" if comment else line
        return
    yield _comment(comment, 4)
    yield line


def _learning(task: Task) -> Iterator[str]:
    if task == "anomaly":
        yield "    # Each event is learned at once; labels, where there are any, only measure."
        yield '    learn_from="events",'
    elif task == "binary":
        yield "    # weight={True: 20.0},  # a rare class counts for more"


def _labels(task: Task, topic: LabelTopic | None) -> Iterator[str]:
    if task == "anomaly" and topic is None:
        return
    yield "    labels=Labels("
    if task != "anomaly":
        yield "        # How long after its prediction a label may come; later ones are not learned."
        yield '        wait="1d",'
    if task == "binary":
        yield "        # on_timeout=False,  # no label in that time is learned as False (a click)"
    if topic is not None:
        yield from label_source_lines(topic, _quoted)
    yield "    ),"


def _features(columns: Sequence[Column], left_out: Mapping[str, str]) -> Iterator[str]:
    if not columns:
        yield "    # The features of events. Without it, every finite value is accepted."
        yield '    # features={"amount": "number", "country": "string"},'
        return
    yield "    # The features of events; others are dropped. To refuse invalid values:"
    yield "    # Feature(type=..., minimum=..., maximum=..., categories=(...), required=True)"
    yield "    features={"
    for column in columns:
        if column.remark:
            yield _comment(f"{column.name}: {column.remark}")
        line = f"        {_quoted(column.name)}: {_kind(column, _required(columns))},"
        comment = f"  # {_seen(column)}"
        yield line + comment if _seen(column) and len(line + comment) <= _WIDTH else line
    yield from (_comment(f"Left out: {name} ({why})") for name, why in left_out.items())
    yield "    },"


def _kind(column: Column, required: set[str]) -> str:
    return 'Feature(type="string", required=True)' if column.name in required else f'"{column.type}"'


def _seen(column: Column) -> str:
    """Return a column's observed values as text, to help the user choose bounds."""
    text = ""
    if column.minimum is not None and column.maximum is not None:
        text = f"seen: {_number(column.minimum)} to {_number(column.maximum)}"
    elif column.categories:
        text = f"seen: {', '.join(map(repr, column.categories))}"
    if column.missing:
        text += f"{'; ' if text else ''}missing in {column.missing} rows"
    return text


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"


# --- the model -------------------------------------------------------------------------------------


def _is_categorical(column: Column) -> bool:
    return column.type == "string" and column.distinct is not None and column.distinct <= _MOST_CATEGORIES


def _is_text(column: Column) -> bool:
    """Return whether a column has a text in every row: a bag of words needs one."""
    return column.type == "string" and not _is_categorical(column) and column.required


def _is_unused(column: Column) -> bool:
    """Return whether a column is a text that some rows lack, so that no step of the model takes it."""
    return column.type == "string" and not _is_categorical(column) and not _is_text(column)


def _discarded(columns: Sequence[Column]) -> list[str]:
    """Return the columns of text that are no categories, if there are categories beside them."""
    strings = [column for column in columns if column.type == "string"]
    texts = [column.name for column in strings if not _is_categorical(column)]
    return texts if len(texts) < len(strings) else []


def _required(columns: Sequence[Column]) -> set[str]:
    """Return the columns that the model uses by name, so that every event must have them."""
    return {column.name for column in columns if _is_text(column)}


def _model(task: Task, columns: Sequence[Column], learner: str, *, dated: bool = False) -> list[str]:
    """Return the lines of a model; `dated` ones have the numbers of a calendar, too."""
    scaler = "preprocessing.MinMaxScaler()" if task == "anomaly" else "preprocessing.StandardScaler()"
    numbers = dated or any(column.type in ("number", "integer", "boolean") for column in columns) or not columns
    if all(column.type in ("number", "integer", "boolean") for column in columns):
        inputs = [scaler]
    else:
        inputs = [f"(compose.SelectType(int, float) | {scaler})"] if numbers else []
    if task != "anomaly":
        strings = [column for column in columns if column.type == "string"]
        if strings and all(map(_is_categorical, strings)):
            inputs.append("(compose.SelectType(str) | preprocessing.OneHotEncoder())")
        elif _discarded(columns):
            # Selected by type, not by name, because an event may lack a category.
            inputs.append("(compose.Discard(*TEXTS) | compose.SelectType(str) | preprocessing.OneHotEncoder())")
        inputs += [f"feature_extraction.BagOfWords(on={_quoted(each.name)})" for each in columns if _is_text(each)]
    inputs = inputs or [f"(compose.SelectType(int, float) | {scaler})"]
    if len(inputs) == 1:
        inputs[0] = inputs[0].removeprefix("(").removesuffix(")") if inputs[0].startswith("(") else inputs[0]
    one_line = f"    model=lambda: {' + '.join(inputs)} | {learner},"
    if len(one_line) <= _WIDTH and "\n" not in one_line:
        return [one_line]
    parts = [inputs[0], *(f"+ {each}" for each in inputs[1:])]
    if len(inputs) == 1:
        parts = inputs[0].split(" | ")
        parts = [parts[0], *(f"| {each}" for each in parts[1:])]
    return ["    model=lambda: (", *chain.from_iterable(map(_fitting, parts)), f"        | {learner}", "    ),"]


def _fitting(part: str) -> list[str]:
    """Return a part of a model as lines; a pipeline in brackets that is too long has a line for each step."""
    line = f"        {part}"
    if len(line) <= _WIDTH or not part.endswith(")") or "(compose" not in part or " | " not in part:
        return [line]
    before, _, steps = part.partition("(")
    first, *others = steps.removesuffix(")").split(" | ")
    return [f"        {before}(", f"            {first}", *(f"            | {each}" for each in others), "        )"]


def _imports(path: Path, model: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    """Yield the imports in the order of import sorters: in a checkout of Millstream its imports come last."""
    ours = f"from millstream import {', '.join(names)}"
    rivers = f"from river import {', '.join(_imported(model))}"
    inside = any((parent / "millstream" / "__init__.py").is_file() for parent in path.resolve().parents)
    yield from [rivers, "", ours] if inside else [ours, rivers]


def _imported(model: Sequence[str]) -> list[str]:
    text = "\n".join(model)
    return [each for each in PACKAGES if f"{each}." in text]


# --- Python literals -------------------------------------------------------------------------------


def _sequence(name: str, values: Sequence[str]) -> Iterator[str]:
    yield f"{name} = ["
    yield from (f"    {_quoted(value)}," for value in values)
    yield "]"


def _literal(value: object) -> str:
    return _quoted(value) if isinstance(value, str) else repr(value)


def _quoted(text: str) -> str:
    if '"' in text and "'" not in text:
        return repr(text)
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _comment(text: str, indent: int = 8) -> str:
    """Return a comment line; it is safe for any names and cells of a file."""
    line = f"{' ' * indent}# " + "".join(letter if letter.isprintable() else "?" for letter in text)
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"


def _plain(text: str) -> str:
    """Return a file's name in a form that is safe in a docstring."""
    safe = "".join(letter if letter.isprintable() and letter not in '"\\' else "?" for letter in text)
    return f"'{safe}'" if " " in safe else safe
