"""JSON from external senders: removes a byte order mark and white space, and explains invalid JSON."""

from __future__ import annotations

import re
from typing import Final

import msgspec

# msgspec raises other errors than its own for invalid UTF-8, endless brackets and endless numbers.
NO_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)
_BOM: Final = b"\xef\xbb\xbf"
_NO_NUMBER: Final = re.compile(rb"(?:^|[:\[,])\s*([+-]?(?:NaN|Infinity))\s*(?:$|[,\]}])")


def json_text(data: bytes) -> bytes:
    r"""Return the bytes without a byte order mark and white space before the JSON.

    >>> json_text(b'\xef\xbb\xbf {"x": 1}')
    b'{"x": 1}'
    """
    return data.removeprefix(_BOM).lstrip(b" \t\r\n")


def why_no_json(error: Exception, data: bytes) -> str:
    """Return the reason why a text was refused, with the solution for common cases.

    >>> why_no_json(ValueError("invalid character"), b'{"x": NaN}')
    'invalid character (JSON has no NaN: write null)'
    """
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 (Latin-1, perhaps)"
    if (found := _NO_NUMBER.search(data)) is not None:
        return f"{error} (JSON has no {found[1].decode().lstrip('+-')}: write null)"
    if data.startswith((b'"{', b'"[')):
        return f"{error} (a text that holds JSON: it was encoded twice; send the object itself)"
    return str(error)
