"""Versions that answer in the shadow: for each prediction the newest that was announced before it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from consumers.model.river_model import RiverModel
from consumers.model.version_loader import VersionLoader
from consumers.shadow.announcements import Announcement, Announcements
from model_store import StoreError, StoreUnavailable, VersionId
from runtime.exits import Doubt

_MOST_LOADED: Final = 2
"""Versions of each model in memory: predictions are answered in the order of their times, so versions alternate
only where partitions do."""
_MOST_REMEMBERED: Final = 1000
_FATAL: Final = (KeyboardInterrupt, SystemExit)


@dataclass(frozen=True)
class Knowledge:
    """A loaded version, and when it was announced."""

    version: VersionId
    announced: int
    face: RiverModel


class ChallengerVersions:
    """Loads the version of a model that was known at a time.

    Parameters
    ----------
    loader
        Loads a version, with the checks that predictors make.
    say
        Prints one line for the operator.
    """

    def __init__(self, announcements: Announcements, loader: VersionLoader, say: Callable[[str], None] = print) -> None:
        self._announcements = announcements
        self._loader = loader
        self._say = say
        self._loaded: dict[str, OrderedDict[tuple[VersionId, str], RiverModel]] = {}
        self._unusable: dict[str, dict[tuple[VersionId, str], None]] = {}
        self._picked: dict[str, tuple[int, Knowledge | None]] = {}

    def cover(self, oldest: int, newest: int) -> None:
        """Read the announcements before predictions of these times."""
        if self._announcements.cover(oldest, newest):
            self._picked.clear()

    def first_announced(self, models: Collection[str]) -> int | None:
        """Return the time of the first announcement of any of these models, `None` if there is none."""
        return self._announcements.first(models)

    def forget(self, time: int) -> None:
        """Forget what only predictions before `time` need."""
        self._announcements.forget(time)

    def at(self, model: str, time: int) -> Knowledge | None:
        """Return what a model knew before `time`: the newest version announced by then that can be loaded.

        Raises
        ------
        Doubt
            If the store does not answer: another version must not take the place of one that is there.
        """
        count = self._announcements.known(model, time)
        picked = self._picked.get(model)
        if picked is None or picked[0] != count:
            picked = count, self._pick(model, count)
            self._picked[model] = picked
        return picked[1]

    def _pick(self, model: str, count: int) -> Knowledge | None:
        unusable = self._unusable.setdefault(model, {})
        for announced in self._announcements.newest(model, count):
            key = announced.version, announced.sha256
            if key in unusable:
                continue
            try:
                return Knowledge(announced.version, announced.time, self._face(model, announced))
            except StoreUnavailable as error:
                raise Doubt(f"version {announced.version} cannot be loaded now: {error}") from error
            except _FATAL:
                raise
            except BaseException as error:  # noqa: BLE001 - River's compiled parts panic with a BaseException
                self._note_unusable(key, unusable, error)
        return None

    def _note_unusable(
        self, key: tuple[VersionId, str], unusable: dict[tuple[VersionId, str], None], error: BaseException
    ) -> None:
        """Remember that a version cannot be loaded, so that the next older one is asked; report it once."""
        unusable[key] = None
        if len(unusable) > _MOST_REMEMBERED:
            del unusable[next(iter(unusable))]
        why = str(error) if isinstance(error, StoreError) else f"{type(error).__name__}: {error}"
        self._say(f"version {key[0]} gives no shadow answers: {why}")

    def _face(self, model: str, announced: Announcement) -> RiverModel:
        loaded = self._loaded.setdefault(model, OrderedDict())
        key = announced.version, announced.sha256
        if key in loaded:
            loaded.move_to_end(key)
            return loaded[key]
        while len(loaded) >= _MOST_LOADED:
            loaded.popitem(last=False)
        manifest = self._loader.store.manifest(announced.version, sha256=announced.sha256)
        loaded[key] = self._loader.load(manifest, announced.sha256).face
        return loaded[key]
