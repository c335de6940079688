"""Library versions that a model was made with, and the check whether this process may load it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from model_store.errors import WrongLibraries

# River's minor versions do not read each other's pickles: from 0.25 to 0.26 every scaler|linear pipeline
# loads and then crashes, and AMF loads and predicts otherwise.
_MUST_MATCH: Final = ("python", "river", "scikit-learn", "numpy")
_OF_ESTIMATORS: Final = ("python", "scikit-learn", "numpy")


def _find() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("river", "scikit-learn", "numpy", "millstream"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


# Read at the start: if the disk fails or file handles run out later, every package looks missing, and a learner would
# sign versions that cannot be loaded.
_HERE: Final = _find()


def libraries() -> dict[str, str]:
    """Return the library versions in this process."""
    return dict(_HERE)


def check_libraries(made_with: Mapping[str, str], version_text: str, *, estimator: bool = False) -> None:
    """Raise WrongLibraries unless the minor versions are equal; of an `estimator`, those that it needs.

    Raises
    ------
    WrongLibraries
        Its message names the differing libraries and the solution.
    """
    mine = libraries()
    differ = [
        f"{name} {made_with.get(name, 'unknown')} (here {mine[name]})"
        for name in (_OF_ESTIMATORS if estimator else _MUST_MATCH)
        if _minor(made_with.get(name, "unknown")) != _minor(mine[name])
    ]
    if differ and estimator:
        raise WrongLibraries(
            f"version {version_text} was made with {', '.join(differ)}, which may answer otherwise: train it again "
            "with `millstream train STREAM NAME`"
        )
    if differ:
        raise WrongLibraries(
            f"version {version_text} was made with {', '.join(differ)}, whose pickles cannot be trusted here: "
            "rebuild it by replay with `millstream learner STREAM --new-epoch replay`"
        )


def _minor(text: str) -> str:
    return ".".join(text.split(".")[:2])
