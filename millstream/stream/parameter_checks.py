"""Checks of the arguments of `Stream` and its groups; each raises `InvalidStream`."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from millstream.stream.duration import InvalidDuration, milliseconds
from millstream.stream.errors import InvalidStream
from schemas.model_names import is_model_name

T = TypeVar("T")
Respell = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def known_parameters(respell: Respell = dict, unnamed: Sequence[str] = ()) -> Callable[[type[T]], type[T]]:
    """Return a decorator that makes a dataclass refuse unknown names, with the nearest name in the message.

    Parameters
    ----------
    respell
        Converts old names of arguments to the present ones before the check.
    unnamed
        Names of the first arguments, which may be given without their names.
    """

    def decorate(kind: type[T]) -> type[T]:
        made = kind.__init__
        names = [each.name for each in dataclasses.fields(kind)]  # type: ignore[arg-type]

        @functools.wraps(made)
        def init(self: T, *values: object, **given: Any) -> None:
            if len(values) > len(unnamed):
                named = names[len(unnamed)]
                raise InvalidStream(f"{kind.__name__}: name what it is given, such as {kind.__name__}({named}=...)")
            for name, value in zip(unnamed, values, strict=False):
                if name in given:
                    raise InvalidStream(f"{kind.__name__}: {name}= is given twice")
                given[name] = value
            respelled = respell(given)
            for name in respelled:
                if name not in names:
                    raise InvalidStream(f"{kind.__name__}: there is no {name}=; {_nearest(name, names)}")
            for name in unnamed:
                if name not in respelled:
                    raise InvalidStream(f"{kind.__name__}: {name} is missing")
            made(self, **respelled)

        kind.__init__ = init  # type: ignore[assignment]
        return kind

    return decorate


def _nearest(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1) or [each for each in names if each in name.split("_")]
    return f"did you mean {near[0]}=?" if near else f"there are {', '.join(f'{each}=' for each in names)}"


def check_spans(given: object, *names: str) -> None:
    """Check that parameters are durations; `None` is valid if it is the default."""
    for name in names:
        value = getattr(given, name)
        if value is None and _may_be_none(given, name):
            continue
        try:
            milliseconds(value)
        except InvalidDuration as error:
            raise InvalidStream(f"{_kind(given)}: {name}={error}") from error
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidStream(
                f"{_kind(given)}: {name}={value!r:.60} must be a span of time, such as '30m'"
            ) from error


def check_model_name(parameter: str, name: object) -> None:
    """Check the name of one of a stream's models, as it stands in `parameter`."""
    if not isinstance(name, str) or not is_model_name(name):
        raise InvalidStream(
            f"Stream: {parameter}={name!r:.60} must be named with 1 to 31 of a-z, 0-9 and '-', not beginning with '-'"
        )


def check_counts(given: object, *names: str) -> None:
    """Check that parameters are whole numbers from 1; `None` is valid if it is the default."""
    for name in names:
        value = getattr(given, name)
        if value is None and _may_be_none(given, name):
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InvalidStream(f"{_kind(given)}: {name}={value!r:.60} must be a whole number, at least 1")


def check_choices(given: object, choices: Mapping[str, Sequence[object]]) -> None:
    """Check that parameters have one of their valid values, which `choices` gives by name."""
    for name, allowed in choices.items():
        if getattr(given, name) not in allowed:
            raise InvalidStream(
                f"{_kind(given)}: {name}={getattr(given, name)!r:.60} must be one of {', '.join(map(str, allowed))}"
            )


def check_number(
    given: object,
    name: str,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    below: float = math.inf,
    most: float = math.inf,
) -> None:
    """Check that a parameter is a finite number within limits: `least` and `most` are included, the others are not."""
    value = getattr(given, name)
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not fits or not (least <= value <= most and above < value < below):
        limits = [
            text
            for text, holds in (
                (f"at least {least:g}", math.isfinite(least)),
                (f"above {above:g}", math.isfinite(above)),
                (f"below {below:g}", math.isfinite(below)),
                (f"at most {most:g}", math.isfinite(most)),
            )
            if holds
        ]
        kind = type(given).__name__
        raise InvalidStream(f"{kind}: {name}={value!r:.60} must be a number{', ' * bool(limits)}{' and '.join(limits)}")


def check_kind(given: object, name: str, kind: type, example: str) -> None:
    """Check that a parameter is an object of a class."""
    value = getattr(given, name)
    if not isinstance(value, kind):
        raise InvalidStream(f"{_kind(given)}: {name}={value!r:.60} must be {kind.__name__}(...), such as {example}")


def _kind(given: object) -> str:
    return type(given).__name__


def _may_be_none(given: object, name: str) -> bool:
    return any(each.name == name and each.default is None for each in dataclasses.fields(given))  # type: ignore[arg-type]
