"""Names of classes whose module belongs to the code of one version."""

from __future__ import annotations

import re
from typing import Final

PREFIX: Final = "millstream_code_"
"""Prefix of the package with the modules of one version's code; 16 hex digits of the code's hash follow."""
_PACKAGE: Final = re.compile(rf"\A{PREFIX}[0-9a-f]{{16}}\.")


def own_name(module: str) -> str:
    """Return a module's original name, without the package of a version's code.

    >>> own_name("millstream_code_0123456789abcdef.fraud"), own_name("river.stats")
    ('fraud', 'river.stats')
    """
    return _PACKAGE.sub("", module)
