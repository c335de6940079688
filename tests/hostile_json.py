"""Kinds of hostile JSON, as the bodies of requests."""

from __future__ import annotations

from typing import Final

_MIB: Final = 1 << 20

NO_JSON: Final = {
    "nothing": b"",
    "white space": b" " * 10_000,
    "NUL bytes": b"\0" * 100,
    "not UTF-8": b'{"features": {"x": "\xff\xfe"}}',
    "an overlong slash": b'{"features": {"x": "\xc0\xaf"}}',
    "UTF-16": '{"features": {"x": 1}}'.encode("utf-16"),
    "half a surrogate": b'{"features": {"x": "\\ud800"}}',
    "a raw control character": b'{"features": {"x": "\x01"}}',
    "NaN": b'{"features": {"x": NaN}}',
    "infinity": b'{"features": {"x": -Infinity}}',
    "1e999": b'{"features": {"x": 1e999}}',
    "single quotes": b"{'features': {'x': 1}}",
    "a comment": b'{"features": {"x": 1} /* y */}',
    "a comma too much": b'{"features": {"x": 1,}}',
    "a leading zero": b'{"features": {"x": 01}}',
    "two values": b'{"features": {"x": 1}}{"features": {"x": 1}}',
    "cut": b'{"features": {"x": 1',
    "open brackets": b"[" * _MIB,
    "open braces": b'{"a":' * (_MIB // 6),
    "closed brackets": b"[" * 100_000 + b"]" * 100_000,
    "brackets as a feature": b'{"features": {"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    "a number without end": b'{"features": {"x": ' + b"9" * 500_000 + b"}}",
    "a fraction without end": b'{"features": {"x": 0.' + b"1" * 500_000 + b"e}}",
    "an exponent without end": b'{"features": {"x": 1e' + b"9" * 500_000 + b"}}",
    "a text": b'"' + b"a" * 500_000 + b'"',
    "an array": b"[1, 2, 3]",
    "null": b"null",
    "an object in an object": b'{"features": {"x": {"y": {"z": 1}}}}',
    "other members": b'{"__proto__": {"x": 1}, "constructor": 1, "__class__": "os.system"}',
    "features that are a list": b'{"features": [["x", 1]]}',
    "an id that is an object": b'{"event_id": {"$gt": ""}, "features": {"x": 1}}',
    "a time beyond 64 bits": b'{"event_time": 99999999999999999999, "features": {"x": 1}}',
    "events that are none": b'{"events": {"0": {"features": {}}}}',
}
"""What no endpoint takes."""

ODD: Final = {
    "a member twice": b'{"features": {"x": 1}, "features": {"x": 2, "y": 1}}',
    "a feature twice": b'{"features": {"x": 1, "x": 2, "y": 1}}',
    "escaped names": b'{"\\u0066eatures": {"\\u0078": 1, "y": 1}}',
    "a byte order mark": b'\xef\xbb\xbf{"features": {"x": 1, "y": 1}}',
    "no features": b'{"features": {}}',
    "a hundred thousand features": b'{"features": {' + b",".join(b'"f%d":1' % n for n in range(100_000)) + b"}}",
    "names that hold code": b'{"features": {"__import__(\'os\')": 1, "${jndi:ldap://x}": 1, "x": 1, "y": 1}}',
    "a name without end": b'{"features": {"' + b"n" * 100_000 + b'": 1}}',
    "an empty name": b'{"features": {"": 1, "x": 1, "y": 1}}',
    "the smallest double": b'{"features": {"x": 5e-324, "y": -0.0}}',
    "beyond 64 bits": b'{"features": {"x": 18446744073709551616, "y": 1}}',
    "a vector": b'{"features": {"x": [1, 2], "y": 1}}',
    "an id of line breaks": b'{"event_id": "a\\r\\nX-A: b", "features": {"x": 1, "y": 1}}',
    "an id of NUL": b'{"event_id": "\\u0000", "features": {"x": 1, "y": 1}}',
    "an id turned round": b'{"event_id": "\\u202e\\u0000\\ud83d\\ude00", "features": {"x": 1, "y": 1}}',
    "a time far ahead": b'{"event_time": 9223372036854775807, "features": {"x": 1, "y": 1}}',
}
"""What may be taken, or refused by the contract, and must break nothing."""
