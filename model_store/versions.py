"""Names of versions and models."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from model_store.errors import InvalidObjectName
from schemas.model_names import model_id, stream_of, version_text

MODEL_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}(\.[a-z0-9][a-z0-9-]{0,30})?")
_TEXT: Final = re.compile(r"(?:([a-z0-9-]+):)?([0-9]{1,6})/([0-9]{1,15})")


class InvalidVersion(InvalidObjectName):
    """The text is not a valid name of a version or a model; the message shows the form."""


def check_model(name: str) -> None:
    """Raise InvalidVersion unless the name is valid for a model."""
    if not MODEL_NAME.fullmatch(name):
        raise InvalidVersion(
            f"model name {name[:100]!r} must be 1 to 63 of a-z, 0-9 and '-', not '-' first, "
            "with .NAME for a named model"
        )


@dataclass(frozen=True, order=True)
class VersionId:
    """Name of a version: its model, its epoch, and the number of examples it has learned.

    >>> str(VersionId("fraud", 1, 1250)), VersionId.parse("1/1250", "fraud").examples
    ('1/1250', 1250)
    """

    model: str
    epoch: int
    examples: int

    def __post_init__(self) -> None:
        check_model(self.model)
        if not 0 <= self.epoch < 10**6 or not 0 <= self.examples < 10**15:
            raise InvalidVersion(f"epoch {self.epoch} or number of examples {self.examples} is out of range")

    def __str__(self) -> str:
        return version_text(self.model, self.epoch, self.examples)

    @classmethod
    def parse(cls, text: str, model: str) -> VersionId:
        """Parse ``epoch/examples`` of this model, or ``name:epoch/examples`` of any model of its stream.

        >>> str(VersionId.parse("forest:1/1250", "fraud")), VersionId.parse("main:1/20", "fraud.forest").model
        ('forest:1/1250', 'fraud')

        Raises
        ------
        InvalidVersion
            If the text has another form.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise InvalidVersion(
                f"{text[:100]!r} is no version: write epoch/examples, such as 1/1250, or forest:1/1250 "
                "for the model forest"
            )
        of = model if match[1] is None else model_id(stream_of(model), match[1])
        return cls(of, int(match[2]), int(match[3]))
