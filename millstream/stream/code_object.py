"""Code object of a version: the stream file, the modules beside it, and the definition that they gave.

It is a JSON document in canonical form, stored under its sha256 like every file of a version. Reading it runs no code:
`millstream.version_code.namespace` does that, once the version's signature has been checked.
"""

from __future__ import annotations

from typing import Final

import msgspec

from model_store.errors import Damaged
from schemas.contract import Contract
from schemas.target import Target

FORMAT: Final = 1
MOST_BYTES: Final = 8 << 20


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """The code that made a version.

    Attributes
    ----------
    module
        Name of the stream file's module: ``fraud``, or ``streams.phishing`` for a ready-made stream.
    files
        Path below the stream file's folder, with ``/``, to source text: ``fraud.py``, ``shared/scale.py``.
    definition
        One line for each part of the model, ``path = value``, as `millstream.stream.definition_hash` writes it.
    contract, target
        Contract of what the model saw, and target of the stream, at that time.
    model
        Name among the stream's `models`, if it is not the stream's own model.
    """

    format: int = FORMAT
    module: str
    files: dict[str, str]
    definition: str
    contract: Contract
    target: Target
    model: str | msgspec.UnsetType = msgspec.UNSET

    @property
    def model_name(self) -> str:
        """Return the name of the model, empty for the stream's own."""
        return "" if self.model is msgspec.UNSET else self.model

    @property
    def main(self) -> str:
        """Return the path of the stream file among `files`."""
        return self.module.replace(".", "/") + ".py"


_encoder: Final = msgspec.json.Encoder(order="sorted")
_read: Final = msgspec.json.Decoder(Code).decode


def encode(code: Code) -> bytes:
    """Return the bytes of a code object; a version's manifest refers to them by their sha256."""
    return _encoder.encode(code)


def decode(data: bytes) -> Code:
    """Return the code in a code object.

    Raises
    ------
    Damaged
        If the bytes are not a code object, or have a newer format.
    """
    try:
        code = _read(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Damaged(f"a version's code cannot be read: {error}") from error
    if code.format != FORMAT:
        raise Damaged(f"a version's code is of format {code.format}; this program reads format {FORMAT}")
    if code.main not in code.files:
        raise Damaged(f"a version's code lacks its stream file {code.main}")
    return code
