"""Expressions over a decoded message: ``status == 'fraud'``, ``amount > 100 and not refunded``.

They use Python's syntax and its parser, but no code is executed: syntax outside the short list below is refused, and
the rest becomes functions that look up values by their paths. A missing or null value is unknown, as in SQL: ``amount >
100`` is unknown without an amount, but ``False and`` unknown is false.
"""

from __future__ import annotations

import ast
import operator
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from schemas.sources.message_fields import said
from schemas.sources.paths import MISSING, InvalidPath, path

Read: TypeAlias = Callable[[Any], Any]
_LONGEST: Final = 2000
_QUOTED: Final = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`[^`]+`""")
_NOT_IN_PATHS: Final = re.compile(r"""[\s'"()=<>!,]""")
_JSON: Final = {"true": "True", "false": "False", "null": "None", "none": "None"}
_ORDERS: Final = {ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge}
_TAKEN: Final = "taken are paths, values, == != < <= > >= in, not, and, or"


class InvalidExpression(ValueError):  # noqa: N818
    """An expression is invalid; the message names the position in the text and the valid syntax."""


class NotComparable(ValueError):  # noqa: N818
    """The values of a message cannot be compared in the requested way."""


def expression(text: str) -> Read:
    """Return a function that evaluates the text on a message; its result is `None` if unknown.

    A text that is only a path gives the value at that path; a text that is only a value (``True``) gives that value.

    >>> fraud = expression("status == 'fraud' and amount > 100")
    >>> fraud({"status": "fraud", "amount": 120}), fraud({"status": "ok"}), fraud({"status": "fraud"})
    (True, False, None)

    The function raises
    -------------------
    NotComparable
        If the values have no order, or a value that should be true or false is neither.

    Raises
    ------
    InvalidExpression
        If the text is none of these.
    """
    return _Parser(text).read()


class _Parser:
    """Compiles one text to a function."""

    def __init__(self, text: str) -> None:
        self._text = text.strip().replace("\n", " ")
        # Python has no backticks: a quoted name becomes a name of equal length, so that positions do not change.
        self._python = _QUOTED.sub(lambda found: "_" * len(found[0]) if found[0][0] == "`" else found[0], self._text)

    def read(self) -> Read:
        if not self._text or len(self._text) > _LONGEST:
            raise InvalidExpression(f"value= has {len(self._text)} characters; 1 to {_LONGEST} are taken")
        try:
            with warnings.catch_warnings(action="ignore"):  # '\\d' is still a valid text
                return self._whole(ast.parse(self._python, mode="eval").body)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            if not _NOT_IN_PATHS.search(_QUOTED.sub("_", self._text)) and self._text not in (*_JSON, "None"):
                return self._path_of(self._text, 0)  # `merchant-id` is a subtraction in Python, `class` invalid
            if isinstance(error, InvalidExpression):
                raise
            at = (error.offset or 1) - 1 if isinstance(error, SyntaxError) else 0
            why = error.msg if isinstance(error, SyntaxError) else str(error)
            raise self._wrong(at, "a comparison is written ==" if self._text[at:].startswith("=") else why) from None

    def _whole(self, node: ast.expr) -> Read:
        if isinstance(node, ast.Compare | ast.BoolOp) or (
            isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
        ):
            return self._truth(node)
        return self._operand(node)

    # --- true, false, or unknown -----------------------------------------------------------------------

    def _truth(self, node: ast.expr) -> Read:
        if isinstance(node, ast.Compare):
            return self._compare(node)
        if isinstance(node, ast.BoolOp):
            parts = [self._truth(each) for each in node.values]
            return _any(parts) if isinstance(node.op, ast.Or) else _all(parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            inner = self._truth(node.operand)
            return lambda message: None if (found := inner(message)) is None else not found
        read, where = self._operand(node), self._source(node)
        return lambda message: _as_truth(read(message), where)

    def _compare(self, node: ast.Compare) -> Read:
        operands = [node.left, *node.comparators]
        pairs = zip(operands, node.ops, operands[1:], strict=False)
        steps = [self._pair(left, op, right) for left, op, right in pairs]
        return steps[0] if len(steps) == 1 else _all(steps)

    def _pair(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Read:
        if isinstance(op, ast.In | ast.NotIn):
            return self._membership(left, right, wanted=isinstance(op, ast.In))
        if isinstance(op, ast.Eq | ast.NotEq):
            wanted = isinstance(op, ast.Eq)
            for one, other in ((left, right), (right, left)):
                if isinstance(one, ast.Constant) and one.value is None:
                    found = self._operand(other)
                    return lambda message: (found(message) is None) is wanted
            return _equality(self._operand(left), self._operand(right), wanted)
        if type(op) in _ORDERS:
            return _order(self._operand(left), self._operand(right), _ORDERS[type(op)], self._source(left, right))
        raise self._refused(right, "'is' is no comparison of values; write == or !=")

    def _membership(self, left: ast.expr, right: ast.expr, wanted: bool) -> Read:
        one = self._operand(left)
        if isinstance(right, ast.Tuple | ast.List | ast.Set):
            values = [self._constant(each) for each in right.elts]
            return _member(one, lambda message: values, self._source(left, right), wanted)
        if isinstance(right, ast.Constant):
            raise self._refused(right, "behind 'in' stands a list of values: ('a', 'b'), with a comma also for one")
        return _member(one, self._operand(right), self._source(left, right), wanted)

    # --- values ----------------------------------------------------------------------------------------

    def _operand(self, node: ast.expr) -> Read:
        if isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
            return self._path(node)
        value = self._constant(node)
        return lambda message: value

    def _constant(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float | str):
            return node.value
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            value = node.operand.value
            if isinstance(value, int | float) and not isinstance(value, bool):
                return -value
        if isinstance(node, ast.Name):
            raise self._refused(node, f"{node.id} is no value; text is put in quotes")
        if isinstance(node, ast.Constant) and node.value is None:
            raise self._refused(node, "None is only compared by == and !=")
        raise self._refused(node, f"{_TAKEN}; for anything else give a function")

    def _path(self, node: ast.expr) -> Read:
        if isinstance(node, ast.Name) and node.id in _JSON and self._source(node) == node.id:
            raise self._refused(node, f"write {_JSON[node.id]}")
        inner: ast.expr = node
        while not isinstance(inner, ast.Name):
            if isinstance(inner, ast.Subscript) and not _is_index(inner.slice):
                raise self._refused(inner.slice, "in brackets stands a place in a list, such as [0]; names follow dots")
            if not isinstance(inner, ast.Attribute | ast.Subscript):
                raise self._refused(inner, _TAKEN)
            inner = inner.value
        return self._path_of(self._source(node), self._place(node))

    def _path_of(self, text: str, at: int) -> Read:
        if _NOT_IN_PATHS.search(_QUOTED.sub("_", text)):
            raise self._wrong(at, f"{text} is no path: write it without blanks and brackets around its parts")
        try:
            find = path(text)
        except InvalidPath as error:
            raise self._wrong(at, str(error)) from error
        return lambda message: None if (found := find(message)) is MISSING else found

    # --- error messages --------------------------------------------------------------------------------

    def _place(self, node: ast.expr) -> int:
        return len(self._python.encode()[: node.col_offset].decode())

    def _source(self, first: ast.expr, last: ast.expr | None = None) -> str:
        end = (last or first).end_col_offset or 0
        return self._text[self._place(first) : len(self._python.encode()[:end].decode())]

    def _refused(self, node: ast.expr, why: str) -> InvalidExpression:
        return self._wrong(self._place(node), f"{self._source(node)[:60]!r}: {why}")

    def _wrong(self, at: int, why: str) -> InvalidExpression:
        return InvalidExpression(f"value={self._text[:200]!r} at character {at + 1}: {why}")


def _is_index(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Constant) and type(node.value) is int


def _all(parts: Sequence[Read]) -> Read:
    def read(message: Any) -> bool | None:
        found: bool | None = True
        for part in parts:
            each = part(message)
            if each is False:
                return False
            found = None if each is None else found
        return found

    return read


def _any(parts: Sequence[Read]) -> Read:
    def read(message: Any) -> bool | None:
        found: bool | None = False
        for part in parts:
            each = part(message)
            if each is True:
                return True
            found = None if each is None else found
        return found

    return read


def _as_truth(value: Any, where: str) -> bool | None:
    """Return a value as true or false; a text such as 'false', which Python treats as true, is refused."""
    if value is None or value is True or value is False:
        return value
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    raise NotComparable(f"{where} is {said(value)}, neither true nor false")


def _equality(left: Read, right: Read, wanted: bool) -> Read:
    def read(message: Any) -> bool | None:
        one, other = left(message), right(message)
        return None if one is None or other is None else bool(one == other) is wanted

    return read


def _order(left: Read, right: Read, compare: Callable[[Any, Any], Any], where: str) -> Read:
    def read(message: Any) -> bool | None:
        one, other = left(message), right(message)
        if one is None or other is None:
            return None
        try:
            return bool(compare(one, other))
        except TypeError:
            raise NotComparable(f"{where}: {said(one)} and {said(other)} have no order") from None

    return read


def _member(one: Read, of: Read, where: str, wanted: bool) -> Read:
    def read(message: Any) -> bool | None:
        value, values = one(message), of(message)
        if value is None or values is None:
            return None
        if not isinstance(values, list | tuple):
            raise NotComparable(f"{where}: {said(values)} is no list")
        return (value in values) is wanted

    return read
