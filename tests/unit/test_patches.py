"""Changes of other people's modules and classes by code that is imported: which are found, and which are nobody's."""

from __future__ import annotations

import pytest

from millstream.version_code.patches import patches

HEAD = """
import numpy as np
import os.path
import mine
from river import base, preprocessing
from river.stats import Mean as M
from .beside import near
class Own(base.Transformer):
    pass
"""
LINE = HEAD.count("\n") + 1


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("preprocessing.StandardScaler.factor = 2", "preprocessing.StandardScaler.factor"),
        ("M.get = lambda self: 0", "M.get"),
        ("np.float = float", "np.float"),
        ("np.random.count += 1", "np.random.count"),
        ("os.path.sep: str = ''", "os.path.sep"),
        ("del M.get", "M.get"),
        ("first, M.get = 1, 2", "M.get"),
        ("setattr(M, 'get', None)", "M.get"),
        ("if True: M.get = 1", "M.get"),
        ("for each in (): M.get = each", "M.get"),
        ("class Other: M.get = 1", "M.get"),
        ("try: import late\nexcept ImportError: pass\nelse: late.it = 1", "late.it"),
    ],
)
def test_a_change_of_what_is_not_ones_own_is_found(statement: str, what: str) -> None:
    line = LINE + statement.count("\n")
    assert list(patches(HEAD + statement, own={"mine"})) == [(line, what)]


@pytest.mark.parametrize(
    "statement",
    [
        "Own.factor = 2",
        "mine.factor = 2",
        "near.factor = 2",
        "np = None",
        "made = M()\nmade.factor = 2",
        "def late():\n    M.get = 1",
        "async def late():\n    M.get = 1",
        "late = lambda: setattr(M, 'get', 1)",
        "class Other:\n    def late(self):\n        M.get = 1",
        "M.get",
        "broken(",
    ],
)
def test_what_is_ones_own_or_done_only_when_called_is_left_alone(statement: str) -> None:
    assert list(patches(HEAD + statement, own={"mine"})) == []
