"""What an answer to a question for a schema registry means; only what has a registry's own form is its word.

Whatever stands before a registry answers, too: a balancer without anybody behind it says 404, a page for maintenance
says 200. To take those for "there is no such schema" would spoil every message that comes in meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from runtime.exits import FAILED, TRY_AGAIN
from schemas.codec import CodecError

LARGEST: Final = 4 << 20
_IDS: Final = "/schemas/ids/"
_GUIDS: Final = "/schemas/guids/"
_NOT_FOUND: Final = frozenset({40401, 40402, 40403})  # a subject, a version, a schema
_PASSING: Final = frozenset({404, 408, 429})
_NOT_OF_ONE: Final = frozenset({401, 404, 407, 408, 429})  # what is wrong is not the id that was asked for


class RegistryError(Exception):
    """The registry could not be asked; the message names it and the way out.

    Attributes
    ----------
    passing
        It may answer in a moment. Otherwise somebody has to set something.
    """

    def __init__(self, message: str, *, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing

    @property
    def exit_code(self) -> int:
        """What a process that cannot go on without an answer ends with."""
        return TRY_AGAIN if self.passing else FAILED


class UnknownSchema(CodecError):  # noqa: N818
    """The registry has no such schema, or none for us."""


def meaning(url: str, path: str, status: int, data: bytes, wanted: str) -> dict[str, Any] | None:
    """Return what is answered, `None` where the registry itself says that there is no such thing.

    Parameters
    ----------
    wanted
        What an answer must have: ``schema`` or ``id``.

    Raises
    ------
    UnknownSchema
        Where the registry refuses this one id: anybody's message may name any.
    RegistryError
        Where it is something else; passing, unless the registry wants another question.
    """
    answer = _object(data)
    code = _code(answer)
    if answer is not None and 200 <= status < 300 and isinstance(answer.get(wanted), (str, int)):
        return answer
    if status == 404 and (code in _NOT_FOUND or (code == 404 and path.startswith(_GUIDS))):
        return None  # older registries know no GUIDs at all
    if code is not None and 400 <= status < 500 and status not in _NOT_OF_ONE and path.startswith((_IDS, _GUIDS)):
        raise UnknownSchema(f"the registry at {url} refuses schema {path.rpartition('/')[2]} ({status}){said(answer)}")
    raise _refusal(url, path, status, answer, wanted)


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(data) if len(data) <= LARGEST else None
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _code(answer: Mapping[str, Any] | None) -> int | None:
    found = (answer or {}).get("error_code")
    return found if isinstance(found, int) else None


def _refusal(url: str, path: str, status: int, answer: Mapping[str, Any] | None, wanted: str) -> RegistryError:
    of_one = path.startswith((_IDS, _GUIDS)) and status not in (401, 407)
    if status == 401 or (status == 403 and not of_one):
        return RegistryError(
            f"the schema registry at {url} lets nobody in ({status}): see MILLSTREAM_REGISTRY_USER and "
            "MILLSTREAM_REGISTRY_PASSWORD",
            passing=False,
        )
    if 200 <= status < 300:
        return RegistryError(
            f"what answers at {url}{path} is no schema registry: no JSON object with {wanted}", passing=True
        )
    # What a proxy says to one id must not keep the role from being started again.
    passing = of_one or not 400 <= status < 500 or status in _PASSING
    shown = said(answer) or (", and not as a registry does" if answer is None and status < 500 else "")
    return RegistryError(f"the schema registry at {url} answers {status} to {path}{shown}", passing=passing)


def said(answer: Mapping[str, Any] | None) -> str:
    """Return what the registry says of its no, after a colon; nothing where it says nothing."""
    text = str((answer or {}).get("message") or "")
    return f": {' '.join(text.split())[:300]}" if text else ""
