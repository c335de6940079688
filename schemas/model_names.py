"""Names of a stream's models, and of their versions in text.

The stream's own model has the stream's name as its id, and is called ``main`` among the stream's models. The model
``forest`` of the stream ``fraud`` has the id ``fraud.forest``; no stream's name has a dot.
"""

from __future__ import annotations

import re
from typing import Final

MAIN: Final = "main"
"""Name of a stream's own model; no other model may have it."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


def is_model_name(name: str) -> bool:
    """Return whether a model could have this name among its stream's models.

    >>> is_model_name("forest"), is_model_name("../forest")
    (True, False)
    """
    return _NAME.fullmatch(name) is not None


def model_id(stream: str, name: str) -> str:
    """Return the id of a stream's model; an empty name is the stream's own, as `MAIN`.

    >>> model_id("fraud", "forest"), model_id("fraud", "main")
    ('fraud.forest', 'fraud')
    """
    return stream if name in ("", MAIN) else f"{stream}.{name}"


def is_named(model: str) -> bool:
    """Return whether an id is that of a named model, not of a stream's own.

    >>> is_named("fraud.forest"), is_named("fraud")
    (True, False)
    """
    return "." in model


def stream_of(model: str) -> str:
    """Return the stream of the model with this id.

    >>> stream_of("fraud.forest"), stream_of("fraud")
    ('fraud', 'fraud')
    """
    return model.partition(".")[0]


def name_of(model: str) -> str:
    """Return the name of the model with this id among its stream's models.

    >>> name_of("fraud.forest"), name_of("fraud")
    ('forest', 'main')
    """
    return model.partition(".")[2] or MAIN


def version_text(model: str, epoch: int, examples: int) -> str:
    """Return a version as people write it; that of a stream's own model needs no name.

    >>> version_text("fraud.forest", 1, 1250), version_text("fraud", 1, 1250)
    ('forest:1/1250', '1/1250')
    """
    version = f"{epoch}/{examples}"
    return f"{name_of(model)}:{version}" if is_named(model) else version
