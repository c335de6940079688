"""Running a version: its classes, the features that it is given, and the test before it serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from consumers.model.checkpoints import PROBE, PROBED, Definition, cpu_name
from consumers.model.fingerprint import fingerprint
from consumers.model.river_model import Answer, ModelError, RiverModel, wrap
from model_store import Manifest
from schemas.events import Features, Scalar
from schemas.target import Task


@dataclass(frozen=True)
class RunWith:
    """Settings for loading and querying a version.

    Attributes
    ----------
    allowed, find
        As in `Definition`, from this process's code or from the code that the version carries.
    carried
        True if the code is the version's own.
    sees
        Names of the features that the model is given; `None` means all.
    hides
        Names of features that it is never given.
    """

    allowed: frozenset[tuple[str, str]] = frozenset()
    find: Callable[[str, str], Any] | None = None
    carried: bool = False
    sees: frozenset[str] | None = None
    hides: frozenset[str] = frozenset()

    @classmethod
    def own(cls, definition: Definition) -> RunWith:
        """Return settings with this process's own code, for a version of the same definition."""
        return cls(definition.allowed, definition.find)

    def face(self, model: object, task: Task) -> RiverModel:
        """Return a loaded model behind its interface, ready to answer."""
        return self.narrowed(wrap(model, task))

    def narrowed(self, face: RiverModel) -> RiverModel:
        """Return a model interface that passes on only the features in `sees`, without those in `hides`."""
        return face if self.sees is None and not self.hides else Narrowed(face, self.sees, self.hides)


class Narrowed:
    """A `RiverModel` that hides features added to the contract after the model was made."""

    def __init__(self, face: RiverModel, sees: frozenset[str] | None, hides: frozenset[str]) -> None:
        self.model: Any = face.model
        self._face = face
        self._sees = sees
        self._hides = hides
        self._ahead: dict[int, Features] = {}

    def ahead(self, several: Sequence[Features]) -> None:
        """Announce the next events; the objects must stay alive until they were answered."""
        narrowed = [self._narrow(features) for features in several]
        self._ahead = {id(features): few for features, few in zip(several, narrowed, strict=True)}
        self._face.ahead(narrowed)

    def predict(self, features: Features) -> Answer:
        """Return the model's answer. Exceptions of the model pass through unchanged."""
        few = self._ahead.pop(id(features), None)
        return self._face.predict(self._narrow(features) if few is None else few)

    def decide(self, features: Features) -> Answer:
        """Return only the model's decision."""
        return self._face.decide(self._narrow(features))

    def as_said(self, features: Features) -> Answer:
        """Return the answer with classes as the model spells them."""
        return self._face.as_said(self._narrow(features))

    def learn(self, features: Features, label: Scalar | None, weight: float) -> None:
        raise NotImplementedError("a version that serves does not learn")

    def _narrow(self, features: Features) -> Features:
        sees, hides = self._sees, self._hides
        return {name: value for name, value in features.items() if (sees is None or name in sees) and name not in hides}


def try_out(face: RiverModel, manifest: Manifest) -> None:
    """Raise ModelError unless the version repeats the answers to its probe events that it gave when it was written.

    On another kind of CPU answers may differ in the last bit, so they must only be finite. A version without probe
    events is tried on an event without features, which a model is allowed to refuse.

    Raises
    ------
    ModelError
        If an answer differs or is not finite, or the model raises.
    """
    probe: Sequence[Features] = manifest.extra.get(PROBE, ())
    if probe and PROBED in manifest.extra and manifest.cpu == cpu_name():
        if fingerprint(face, probe) != manifest.extra[PROBED]:
            raise ModelError(
                "it does not answer as it did when it was written: its code depends on a file, a package or a setting "
                "of the environment that differs here"
            )
        return
    tolerated = () if probe else (KeyError, ValueError, IndexError, ZeroDivisionError, TypeError)
    for features in probe or ({},):
        try:
            face.predict(features)
        except ModelError:
            raise
        except tolerated:
            return
        except Exception as error:
            raise ModelError(f"it does not answer: {type(error).__name__}: {error}") from error
