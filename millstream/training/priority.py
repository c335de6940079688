"""Priority and threads of a training; read before anything else is imported."""

from __future__ import annotations

from typing import Final

NICENESS: Final = 19
THREADS: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "BLIS_NUM_THREADS",
)

FIXED: Final = {"PYTHONHASHSEED": "0", **dict.fromkeys(THREADS, "1")}
"""Environment of every training: a hash seed, and one thread of compiled code."""
