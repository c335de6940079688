"""JSON as others send it: white space and a byte order mark before it, and reasons why a text is not JSON."""

from __future__ import annotations

import re
from typing import Final

import msgspec

# Bytes that are no UTF-8, brackets without end and numbers without end, msgspec does not take for its own affair.
NO_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)
_BOM: Final = b"\xef\xbb\xbf"
_NO_NUMBER: Final = re.compile(rb"(?:^|[:\[,])\s*([+-]?(?:NaN|Infinity))\s*(?:$|[,\]}])")


def json_text(data: bytes) -> bytes:
    r"""Return the bytes without what may stand before JSON.

    >>> json_text(b'\xef\xbb\xbf {"x": 1}')
    b'{"x": 1}'
    """
    return data.removeprefix(_BOM).lstrip(b" \t\r\n")


def why_no_json(error: Exception, data: bytes) -> str:
    """Return the reason why a text was refused, with the way out where it is a usual one.

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
