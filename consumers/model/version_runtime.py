"""How a version is run: with whose classes, handed which features, and tried before it answers anybody."""

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
    """How a version is loaded and asked.

    Attributes
    ----------
    allowed, find
        As in `Definition`: of this process's code, or of the code that the version carries.
    carried
        Whether it is the version's own.
    sees
        Names of the features that are handed to the model; `None` hands it all of them.
    """

    allowed: frozenset[tuple[str, str]] = frozenset()
    find: Callable[[str, str], Any] | None = None
    carried: bool = False
    sees: frozenset[str] | None = None

    @classmethod
    def own(cls, definition: Definition) -> RunWith:
        """Return this process's own code, for a version of its own definition."""
        return cls(definition.allowed, definition.find)

    def face(self, model: object, task: Task) -> RiverModel:
        """Return a model that was loaded, ready to answer."""
        return self.narrowed(wrap(model, task))

    def narrowed(self, face: RiverModel) -> RiverModel:
        """Return a face that hands its model no other feature than those it is to see."""
        return face if self.sees is None else Narrowed(face, self.sees)


class Narrowed:
    """A `RiverModel` whose model sees no feature that was added to the contract after it was made."""

    def __init__(self, face: RiverModel, sees: frozenset[str]) -> None:
        self.model: Any = face.model
        self._face = face
        self._sees = sees
        self._ahead: dict[int, Features] = {}

    def ahead(self, several: Sequence[Features]) -> None:
        """Take note of what will be asked next; those objects must live until it was."""
        narrowed = [self._narrow(features) for features in several]
        self._ahead = {id(features): few for features, few in zip(several, narrowed, strict=True)}
        self._face.ahead(narrowed)

    def predict(self, features: Features) -> Answer:
        """Return the model's answer. Whatever the model raises comes out as it is."""
        few = self._ahead.pop(id(features), None)
        return self._face.predict(self._narrow(features) if few is None else few)

    def decide(self, features: Features) -> Answer:
        """Return the model's decision alone."""
        return self._face.decide(self._narrow(features))

    def as_said(self, features: Features) -> Answer:
        """Return the answer with classes as the model spells them."""
        return self._face.as_said(self._narrow(features))

    def learn(self, features: Features, label: Scalar | None, weight: float) -> None:
        raise NotImplementedError("a version that serves does not learn")

    def _narrow(self, features: Features) -> Features:
        return {name: value for name, value in features.items() if name in self._sees}


def try_out(face: RiverModel, manifest: Manifest) -> None:
    """Insist on the answers that the version gave when it was written to the newest events that it had learned.

    On another kind of CPU they may differ in the last bit, and must only be finite. Without such events, it is asked of
    an event without features, which a model may refuse as real events are not.

    Raises
    ------
    ModelError
        Where an answer is another one or not finite, or the model raises.
    """
    probe: Sequence[Features] = manifest.extra.get(PROBE, ())
    if probe and PROBED in manifest.extra and manifest.cpu == cpu_name():
        if fingerprint(face, probe) != manifest.extra[PROBED]:
            raise ModelError(
                "it does not answer as it did when it was written: its code depends on a file, a package or a setting "
                "of the environment that is another one here"
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
