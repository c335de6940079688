"""Names of classes whose module belongs to the code of one version."""

from __future__ import annotations

import re
from typing import Final

PREFIX: Final = "millstream_code_"
"""Begins the package that holds the modules of one version's code; 16 hex digits of the code's hash follow."""
_PACKAGE: Final = re.compile(rf"\A{PREFIX}[0-9a-f]{{16}}\.")


def own_name(module: str) -> str:
    """Return the name that a module has in its own source, whichever version's code it belongs to.

    >>> own_name("millstream_code_0123456789abcdef.fraud"), own_name("river.stats")
    ('fraud', 'river.stats')
    """
    return _PACKAGE.sub("", module)
