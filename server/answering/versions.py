"""Version of a server: followed as by a predictor, and noted for a start without Kafka."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from consumers.model.models_topic_state import Known
from consumers.predictor.model_feed import VersionFeed
from consumers.predictor.predictor import ServedVersion
from consumers.roles import SERVER
from model_store import VersionId
from schemas.model_names import MAIN, name_of, version_text
from schemas.model_updates import ModelUpdate, Serving
from server.spool.folder import replace_file

_LOOK_S: Final = 0.01
_LONGEST_WAIT_S: Final = 30.0
# As in a header, or with - as in paths: 3/81000, 3-81000, forest:3/81000, forest-3-81000.
_TEXT: Final = re.compile(r"(?:([a-z0-9-]+)[:-])?([0-9]{1,6})[/-]([0-9]{1,15})")
NO_VERSION: Final = "no version has answered its probe yet; the first is from the learner (`millstream run`)"


class VersionTooOld(Exception):  # noqa: N818
    """No version serves that the caller could use; `status` and `code` are of the response."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class LastServed(msgspec.Struct, frozen=True):
    """What a server knew of the stream when it last did, in its state folder.

    Attributes
    ----------
    model, epoch, examples
        The version that it served; it was the newest, or a decision named it.
    spread, public_partitions
        Numbers of partitions that event ids are spread over, and of the topic of public predictions.
    at_ms
        Time of the note.
    """

    model: str
    epoch: int
    examples: int
    spread: int
    public_partitions: int
    at_ms: int
    format: int = 1


_read: Final = msgspec.json.Decoder(LastServed).decode


def last_served(path: Path) -> LastServed | None:
    """Return the note in a file, `None` if there is none that can be read."""
    try:
        found = _read(path.read_bytes())
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return found if found.format == 1 else None


class Versions:
    """The version to answer with.

    Parameters
    ----------
    feed
        Loads versions and tries them before they serve.
    path
        File of the note for a start without Kafka.
    spread, public_partitions
        As in `LastServed`.
    """

    def __init__(
        self,
        feed: VersionFeed,
        path: Path,
        spread: int,
        public_partitions: int,
        say: Callable[[str], None] = print,
    ) -> None:
        self._feed = feed
        self._path = path
        self._spread, self._public_partitions = spread, public_partitions
        self._say = say
        self._decided: VersionId | None = None
        self._model = self._serves = feed.model
        self._noted: ServedVersion | None = None
        self._loading = threading.Lock()  # the feed is called from one thread at a time
        self._read = False
        self.followed = False
        """True once the models topic was read; until then the version of the note serves."""

    def follow(self, known: Known) -> None:
        """Follow the models topic; called in the thread that reads it. Never raises."""
        self._read = True
        with self._loading:
            self._feed.follow(known)
        self._decided, self._serves = known.decided(0), known.serves(self._model, 0)
        self.followed = True
        self._note()

    def begin_with(self, last: LastServed) -> None:
        """Serve the version that was served last, until the models topic is read; its version may be loading slowly."""
        with self._loading:
            if not self._read:
                self._begin_with(last)

    def _begin_with(self, last: LastServed) -> None:
        decision = Serving(last.model, 0, last.epoch, last.examples, SERVER, "served last")
        known = Known()
        known.take(decision.key.encode(), ModelUpdate(last.at_ms, decision).encode())
        self._feed.follow(known)
        self._serves = last.model
        if self._feed.newest() is not None:
            version = version_text(last.model, last.epoch, last.examples)
            self._say(f"Kafka is away: version {version} serves, which served here last")

    def _note(self) -> None:
        serving = self._feed.newest()
        if serving is None or serving is self._noted:
            return
        now = time.time_ns() // 1_000_000
        last = LastServed(serving.name, serving.epoch, serving.examples, self._spread, self._public_partitions, now)
        try:
            replace_file(self._path, msgspec.json.encode(last))
        except OSError as error:
            self._say(f"{self._path} cannot be written, so a start without Kafka has no version: {error}")
        self._noted = serving

    def newest(self) -> ServedVersion | None:
        """Return the version that answers now."""
        return self._feed.newest()

    async def at_least(self, wanted: str | None, wait: str | None, others: Mapping[str, str]) -> ServedVersion:
        """Return a version that has learned at least as much as `wanted`, such as ``3/81000``.

        Parameters
        ----------
        wait
            Time to wait for it, such as ``2s``; at most 30 s.
        others
            Further parameters of the query, which must be none.

        Raises
        ------
        ValueError
            If a parameter is invalid.
        VersionTooOld
            If none serves, or none serves in time; at once if a person's decision serves an older one.
        """
        if others:
            raise ValueError(f"there is no parameter {next(iter(others))[:50]!r}; there are min_version and wait")
        serving = self._feed.newest()
        if wanted is None and wait is not None:
            raise ValueError("wait= says how long to wait for min_version=, which is missing")
        if wanted is None:
            return self._there(serving)
        least, until = _version(wanted, self._model), time.monotonic() + wait_seconds(wait)
        while serving is None or serving.id.model != least.model or serving.id < least:
            decided, serves = self._decided, self._serves
            if decided is not None and (decided.model != least.model or decided < least):
                older = "another model's" if decided.model != least.model else f"older than {wanted}"
                raise VersionTooOld(409, "decided", f"version {decided} serves by a decision, which is {older}")
            if serves != least.model:
                raise VersionTooOld(409, "decided", f"the model {name_of(serves)} serves, not {name_of(least.model)}")
            if time.monotonic() >= until:
                now = "none" if serving is None else str(serving.id)
                raise VersionTooOld(503, "version", f"version {wanted} does not serve yet; {now} does")
            await asyncio.sleep(_LOOK_S)
            serving = self._feed.newest()
        return serving

    @staticmethod
    def _there(serving: ServedVersion | None) -> ServedVersion:
        if serving is None:
            raise VersionTooOld(503, "not-ready", NO_VERSION)
        return serving


def _version(text: str, model: str) -> VersionId:
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError(f"min_version={text[:50]} is not EPOCH/EXAMPLES, such as 3/81000")
    return VersionId.parse(f"{found[1] or MAIN}:{found[2]}/{found[3]}", model)


def wait_seconds(text: str | None) -> float:
    if text is None:
        return 0.0
    unit = 0.001 if text.endswith("ms") else 1.0
    number = text.removesuffix("ms").removesuffix("s")
    if not (number.isascii() and number.isdecimal() and len(number) < 9):
        raise ValueError(f"wait={text[:50]} is not a time such as 500ms or 2s")
    if int(number) * unit > _LONGEST_WAIT_S:
        raise ValueError(f"wait={text[:50]} is longer than {_LONGEST_WAIT_S:g} s")
    return int(number) * unit
