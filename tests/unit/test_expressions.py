"""Comparisons in a stream file: what they say of a message, and what is refused when the file loads."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.sources.expressions import InvalidExpression, NotComparable, expression

SAID: list[tuple[str, dict[str, Any], Any]] = [
    # a path, and what is there
    ("status", {"status": "fraud"}, "fraud"),
    ("payment.status", {"payment": {"status": 3}}, 3),
    ("items[0].price", {"items": [{"price": 2.5}]}, 2.5),
    ("items[-1]", {"items": [1, 7]}, 7),
    ("merchant-id", {"merchant-id": 4}, 4),
    ("class", {"class": "b"}, "b"),
    ("`http.status`.code", {"http.status": {"code": 500}}, 500),
    ("status", {}, None),
    ("status", {"status": None}, None),
    # a value
    ("True", {}, True),
    ("'fraud'", {}, "fraud"),
    ("-1", {}, -1),
    # comparisons
    ("status == 'fraud'", {"status": "fraud"}, True),
    ("status == 'fraud'", {"status": "ok"}, False),
    ("status != 'fraud'", {"status": "ok"}, True),
    ('status == "it\'s"', {"status": "it's"}, True),
    ("`merchant-id` == 4", {"merchant-id": 4}, True),
    ("a.`b.c` == 'ü' and `d` == 1", {"a": {"b.c": "ü"}, "d": 1}, True),
    ("note == 'a`b`c'", {"note": "a`b`c"}, True),
    ("note == '\\d'", {"note": "\\d"}, True),
    ("straße == 'x'", {"straße": "x"}, True),
    ("amount > 100", {"amount": 100}, False),
    ("0 < amount <= 100", {"amount": 100}, True),
    ("amount >= -1.5", {"amount": -1.5}, True),
    ("amount > limit", {"amount": 2, "limit": 1}, True),
    ("kind in ('a', 'b')", {"kind": "b"}, True),
    ("kind not in ['a', 'b']", {"kind": "c"}, True),
    ("'fraud' in tags", {"tags": ["x", "fraud"]}, True),
    ("amount > 100 and not refunded", {"amount": 120, "refunded": False}, True),
    ("amount > 100 and not refunded", {"amount": 120, "refunded": 1}, False),
    ("a == 1 or b == 1", {"a": 0, "b": 1}, True),
    ("not (a == 1 or b == 1)", {"a": 0, "b": 2}, True),
    ("not closed", {"closed": True}, False),
    ("a == 1 or\n  b == 1", {"a": 1}, True),
    # unknown
    ("status == 'fraud'", {}, None),
    ("status == 'fraud'", {"status": None}, None),
    ("not refunded", {}, None),
    ("amount > 100", {"amount": None}, None),
    ("kind in ('a', 'b')", {}, None),
    ("'fraud' in tags", {}, None),
    ("amount > 100 and status == 'fraud'", {"amount": 5}, False),
    ("amount > 100 and status == 'fraud'", {"amount": 500}, None),
    ("amount > 100 or status == 'fraud'", {"amount": 500}, True),
    ("amount > 100 or status == 'fraud'", {"amount": 5}, None),
    ("refunded_at == None", {}, True),
    ("refunded_at != None", {"refunded_at": 5}, True),
    ("None != refunded_at", {"refunded_at": None}, False),
]


@pytest.mark.parametrize(("text", "message", "value"), SAID)
def test_what_a_text_says_of_a_message(text: str, message: dict[str, Any], value: Any) -> None:
    found = expression(text)(message)
    assert (type(found), found) == (type(value), value)


REFUSED = {
    "status = 'fraud'": "character 8: a comparison is written ==",
    "status == ": "character",
    "status == 'fraud": "character 11:",
    "": "0 characters",
    "a" * 3000: "3000 characters",
    "open('/etc/passwd')": "character 1: \"open('/etc/passwd')\"",
    "__import__('os').system('x') == 0": "character 1:",
    "a == 1 and f(b)": "character 12:",
    "a + b > 1": "character 1: 'a + b'",
    "[x for x in y] == 1": "character 1:",
    "(lambda: 1)() == 1": "character 1:",
    "a == 1 if b else c": "character 1:",
    "f'{a}' == 'b'": "character 1:",
    "a == b'x'": "character 6:",
    "a is True": "write == or !=",
    "a == true": "character 6: 'true': write True",
    "null": "write None",
    "a > None": "only compared by == and !=",
    "None": "only compared by == and !=",
    "kind in 'ab'": "character 9:",
    "kind in ('a')": "with a comma also for one",
    "kind in (a, b)": "text is put in quotes",
    "items['x'] == 1": "character 7:",
    "items[i] == 1": "character 7:",
    "items[0:1] == 1": "character 7:",
    "items[True] == 1": "character 7:",
    "a . b == 1": "without blanks",
    "(a).b == 1": "without blanks",
    "f(x).y == 1": "character 1:",
    "(a == 1) == True": "character 2:",
    "(a := 1) == 1": "character 2:",
    "a == 1; b": "character 7:",
    "a == 1j": "character 6:",
    "ü == 1 and open(x)": "character 12:",
    "`ü.ü` == 1 and open(x)": "character 16:",
    "(" * 500 + "a" + ")" * 500: "character",
    "not " * 450 + "open(x)": "character",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_comparison_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(InvalidExpression) as refused:
        expression(text)
    assert REFUSED[text] in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message", "why"),
    [
        ("amount > 100", {"amount": "120"}, "have no order"),
        ("not refunded", {"refunded": "false"}, "refunded is 'false', neither true nor false"),
        ("a == 1 and refunded", {"a": 1, "refunded": 2}, "neither true nor false"),
        ("'x' in tags", {"tags": "xyz"}, "is no list"),
        ("amount > 'a'", {"amount": 10**5000}, "have no order"),
    ],
)
def test_values_of_the_wrong_kind_are_told(text: str, message: dict[str, Any], why: str) -> None:
    with pytest.raises(NotComparable, match=why):
        expression(text)(message)
