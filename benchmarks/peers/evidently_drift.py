"""Evidently's default drift tests: each day against the reference. Prints how many columns drifted, day by day."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset


def main(path: str, reference_rows: int, day_rows: int) -> None:
    """Compare every day of the columns in a file (npz) with its first rows."""
    with np.load(Path(path)) as file:
        frame = pd.DataFrame({name: file[name] for name in file.files})
    for name in frame:
        if frame[name].dtype.kind in "iu":
            frame[name] = "c" + frame[name].astype(str)
    reference = frame[:reference_rows]
    drifted = []
    for begin in range(reference_rows, len(frame) - day_rows + 1, day_rows):
        found = Report([DataDriftPreset()]).run(frame[begin : begin + day_rows], reference).dict()
        drifted.append(int(found["metrics"][0]["value"]["count"]))
    print(json.dumps(drifted))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
