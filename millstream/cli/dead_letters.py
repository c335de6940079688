"""`millstream dead-letters STREAM --replay`: sends dead letters back after their cause is fixed."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from millstream.cli.progress import Bar
from millstream.cli.shared_options import UsageError, Where, filling_in, full_names, print_json, print_table

if TYPE_CHECKING:
    from millstream.replay.dead_letters import Choice, LettersToReplay

_OFFSETS: Final = re.compile(r"\d{1,15}(-\d{1,15})?(,\d{1,15}(-\d{1,15})?)*")
_MOST_NAMED: Final = 1_000_000


@Parameter(name="*", group="Sending back")
@dataclass(frozen=True)
class Back:
    """The dead letters to send back."""

    replay: Annotated[bool, Parameter(negative="")] = False
    """Send dead letters back to the topics that they came from, once each."""

    reason: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Only those with this reason code, such as type or model; may be repeated."""

    stage: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Only those of this stage, such as predictor or joiner; may be repeated."""

    key: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Only those with this key; may be repeated."""

    offsets: str | None = None
    """Only those at these offsets of the dead-letters topic: 5,9-12."""

    again: Annotated[bool, Parameter(negative="")] = False
    """Also dead letters that were sent back before."""

    elsewhere: Annotated[bool, Parameter(negative="")] = False
    """Also to external topics; all of their readers then see the records twice."""

    yes: Annotated[bool, Parameter(negative="")] = False
    """Do not ask for confirmation."""

    def choice(self) -> Choice:
        """Return the choice of dead letters. Raises UsageError if an option is invalid."""
        from millstream.replay.dead_letters import Choice

        return Choice(
            codes=set(self.reason),
            stages=set(self.stage),
            keys=set(self.key),
            offsets=_named(self.offsets),
            again=self.again,
            elsewhere=self.elsewhere,
        )


NOTHING_BACK: Final = Back()


def send_back(stream: str, back: Back, where: Where, as_json: bool) -> None:
    """Show the dead letters to send back, ask for confirmation, and send them."""
    from millstream.replay.dead_letters import Letters

    choice, settings = back.choice(), where.settings()
    cluster = settings.cluster()
    names = full_names(stream, settings, cluster)
    with filling_in(stream), Letters(cluster, names, choice) as letters:
        found = letters.look()
        _tell(found)
        if found.count and not back.yes and not _agreed(found.count):
            _say("nothing was sent")
            return
        with Bar("letters") as bar:
            sent = letters.send(lambda done: bar.show(done, found.count))
    if as_json:
        print_json({"sent": sent, "sent_before": found.sent, "kept": dict(found.kept)})
    else:
        print(f"{sent:,} letters were sent back" if sent else "there are no letters to send back")


def _tell(found: LettersToReplay) -> None:
    if found.ready:
        rows = [(topic, stage, code, count) for (topic, stage, code), count in sorted(found.ready.items())]
        print_table(("goes back to", "stage", "code", "letters"), rows, stderr=True)
    if found.sent:
        _say(f"{found.sent:,} were sent back before: --again sends them again")
    for why, count in found.kept.items():
        _say(f"{count:,} stay: {why}")


def _agreed(count: int) -> bool:
    if not sys.stdin.isatty():
        raise UsageError(f"{count:,} letters would be sent back; say --yes to do so")
    print(f"Send {count:,} letters back? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _named(text: str | None) -> frozenset[int]:
    if text is None:
        return frozenset()
    wrong = UsageError(f"--offsets {text[:100]!r}: write offsets and ranges of them, such as 5,9-12")
    if not _OFFSETS.fullmatch(text.strip()):
        raise wrong
    found: set[int] = set()
    for each in text.strip().split(","):
        first, _, last = each.partition("-")
        begin, end = int(first), int(last or first)
        if not 0 <= end - begin <= _MOST_NAMED:
            raise wrong
        found.update(range(begin, end + 1))
    return frozenset(found)
