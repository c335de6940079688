"""Errors of a schema registry: interprets its answers, and trusts only those in a registry's own form.

A proxy before the registry may answer instead: a load balancer without a backend returns 404, a maintenance page 200.
If these counted as "there is no such schema", every message in that time would become a dead letter.
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
_NOT_OF_ONE: Final = frozenset({401, 404, 407, 408, 429})  # the error does not concern the requested id


class RegistryError(Exception):
    """A request to the registry failed; the message names the registry and the solution.

    Attributes
    ----------
    passing
        True if a retry may succeed. Otherwise an operator must change a setting.
    """

    def __init__(self, message: str, *, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing

    @property
    def exit_code(self) -> int:
        """Exit code of a process that cannot continue without an answer."""
        return TRY_AGAIN if self.passing else FAILED


class UnknownSchema(CodecError):  # noqa: N818
    """The registry has no such schema, or does not allow access to it."""


def meaning(url: str, path: str, status: int, data: bytes, wanted: str) -> dict[str, Any] | None:
    """Return the content of an answer, `None` if the registry itself reports "not found".

    Parameters
    ----------
    wanted
        The field that an answer must have: ``schema`` or ``id``.

    Raises
    ------
    UnknownSchema
        If the registry refuses this id; any message can name an arbitrary id.
    RegistryError
        If the answer is anything else; `passing` unless the registry refuses the request itself.
    """
    answer = _object(data)
    code = _code(answer)
    if answer is not None and 200 <= status < 300 and isinstance(answer.get(wanted), (str, int)):
        return answer
    if status == 404 and (code in _NOT_FOUND or (code == 404 and path.startswith(_GUIDS))):
        return None  # older registries do not support GUIDs
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
            f"the schema registry at {url} denies access ({status}): see MILLSTREAM_REGISTRY_USER and "
            "MILLSTREAM_REGISTRY_PASSWORD",
            passing=False,
        )
    if 200 <= status < 300:
        return RegistryError(
            f"what answers at {url}{path} is no schema registry: no JSON object with {wanted}", passing=True
        )
    # A proxy's answer about one id must not prevent a restart of the role.
    passing = of_one or not 400 <= status < 500 or status in _PASSING
    shown = said(answer) or (", and not as a registry does" if answer is None and status < 500 else "")
    return RegistryError(f"the schema registry at {url} answers {status} to {path}{shown}", passing=passing)


def said(answer: Mapping[str, Any] | None) -> str:
    """Return the registry's reason for a refusal, after a colon; empty if it gives none."""
    text = str((answer or {}).get("message") or "")
    return f": {' '.join(text.split())[:300]}" if text else ""
