"""The phishing stream at work, its versions where commands find them, and waves of events that each meet a new one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from river import datasets
from whole_loop import WholeLoop, whole_loop

from millstream.config.settings import Settings
from millstream.status.report import served
from millstream.status.snapshot import Observer
from millstream.stream.load import load_stream
from millstream.stream.processor_rules import definition_of

EVENTS: Final = 40  # a wave


@contextmanager
def looping(bootstrap: str, prefix: str, home: Path) -> Iterator[WholeLoop]:
    """Run the phishing stream, with versions where the command line finds them."""
    loaded, settings = load_stream("phishing"), Settings(home, bootstrap, prefix)
    definition = definition_of(loaded)
    with whole_loop(loaded.stream, bootstrap, prefix, home, definition=definition, models=settings.models) as loop:
        yield loop


def serve(loop: WholeLoop, waves: int, first: int = 0) -> None:
    """Send events, each wave answered by a later version than the one before; some get an error for an answer."""
    rows = [*itertools.islice(datasets.Phishing(), 400)]
    learned = max(0, loop.learned())
    for wave in range(first, first + waves):
        numbers = range(wave * EVENTS, (wave + 1) * EVENTS)
        for number in numbers:
            loop.event(f"e{number}", {**rows[number][0], **broken(number)})
        loop.wait_until(lambda wave=wave: len(loop.predictions()) >= (wave + 1) * EVENTS, "all are answered")
        for number in numbers:
            loop.label(f"e{number}", bool(rows[number][1]))
        learned += sum(not broken(number) for number in numbers)
        loop.wait_until(lambda version=f"1/{learned}": serving(loop) == version, "the newest version serves")


def broken(number: int) -> dict[str, float | str]:
    """Return what makes an event unanswerable: for the contract, or for a model that has learned something."""
    if number % 20 == 7:
        return {"empty_server_form_handler": float("inf")}
    return {"popup_window": "n/a"} if number % 20 == 13 and number >= EVENTS else {}


def serving(loop: WholeLoop) -> str | None:
    with Observer(loop.cluster, loop.names) as observer:
        return served(observer.look()).served
