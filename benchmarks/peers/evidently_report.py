"""Evidently's reports over rows of 20 numbers: `python evidently_report.py ROWS`.

Prints JSON: processor seconds of each report, and the MB that the process had at most by its end. The reference of the
drift report has a tenth of the rows. Making the data frames is not part of the time.
"""

from __future__ import annotations

import json
import resource
import sys
import time

import numpy as np
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset, DataSummaryPreset


def main(rows: int) -> None:
    """Print what was measured."""
    names = [f"f{place:02}" for place in range(20)]
    definition = DataDefinition(numerical_columns=names)
    draw = np.random.default_rng(1)
    now, reference = (pd.DataFrame(draw.normal(size=(size, 20)), columns=names) for size in (rows, rows // 10))
    found: dict[str, list[float]] = {}
    for name, preset in (("summary", DataSummaryPreset), ("drift", DataDriftPreset)):
        with_reference = Dataset.from_pandas(reference, definition) if name == "drift" else None
        began = time.process_time()
        Report([preset()]).run(Dataset.from_pandas(now, definition), with_reference)
        seconds = time.process_time() - began
        found[name] = [seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]))
