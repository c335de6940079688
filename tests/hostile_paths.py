"""Paths of requests that try to reach what they should not: files, other endpoints, other users' uploads."""

from __future__ import annotations

from typing import Final

SPELLINGS: Final = (
    b"/v1/%70redict",
    b"/%76%31/predict",
    b"/v1%2fpredict",
    b"%2Fv1%2Fpredict",
    b"/v1/predic%74",
)
"""Other spellings of an endpoint: what is percent-encoded is decoded once, before anything is looked up."""

_FILE: Final = b"etc/passwd"
_UP: Final = (
    b"../",
    b"..%2f",
    b"%2e%2e/",
    b"%2e%2e%2f",
    b"..%5c",
    b"..\\",
    b"%252e%252e%252f",
    b"..;/",
    b"....//",
    b"..%c0%af",
    b"..%ef%bc%8f",
    b"%2e%2e%00/",
    b".%00./",
    b"..%0d%0a/",
    b"..%u2215",
)
_NAMES: Final = (
    b"..",
    b".",
    b"%2e%2e",
    b"..%00",
    b"%00",
    b"%0d%0aX-A:%20b",
    b"%0a",
    b"~",
    b"~root",
    b"$HOME",
    b"$(id)",
    b"%60id%60",
    b"file:%2f%2f%2fetc%2fpasswd",
    b"C:%5cWindows",
    b"con",
    b"*",
    b"?x=../..",
    b"a%23b",
    b"%ff%fe",
    b"%c3%28",
    b"%e2%80%ae",
    b"-rf",
    b"%25s%25n",
    b"{id}",
    b"{{7*7}}",
    b"<script>",
    b"%3cscript%3e",
    b"'%20or%201=1--",
    b"a" * 4000,
    b"%" + b"41" * 2000,
)
_WHOLE: Final = (
    b"/v1/predict/",
    b"//v1/predict",
    b"/v1//predict",
    b"/./v1/predict",
    b"/v1/x/../predict",
    b"/V1/PREDICT",
    b"/v1/predict;x=1",
    b"/v1/predict%00",
    b"/v1/predict%20",
    b"/v1/predict%0a",
    b"/v1/predict.json",
    b"/v1/%2570redict",
    b"/v2/models/..%2f..%2fv1%2fpredict",
    b"/v2/models/flow/versions/..%2f..",
    b"/v2/models//infer",
    b"/metrics",
    b"/tokens/tokens.json",
    b"/.env",
    b"/.git/config",
    b"*",
    b"/",
    b"/?/v1/predict",
    b"/%",
    b"/%2",
    b"/%zz",
)

TRICKS: Final = (
    *(b"/" + up * 8 + _FILE for up in _UP),
    *(b"/v1/uploads/" + up * 4 + _FILE for up in _UP),
    *(b"/v1/uploads/" + name for name in _NAMES),
    *_WHOLE,
)
"""Paths that are none of an endpoint, or name nothing there."""
