"""The last line of `millstream publish`: served metrics beside the baselines, or why there are none."""

from __future__ import annotations

import pytest

from consumers.model.quality import MetricBeside, Quality
from millstream.status.published_quality import PublishedQuality

GOOD = Quality(300, 1000, (MetricBeside("ROCAUC", 0.91, {"last_label": 0.74, "frequencies": 0.5}),))


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            PublishedQuality(labels=300, learned=True, quality=GOOD),
            "over the newest 300 labels: ROCAUC 0.91 (last label 0.74, class frequencies 0.5)",
        ),
        (PublishedQuality(labels=300, quality=GOOD), "0.5); not all labels were learned within 10 s"),
        (PublishedQuality(labels=99), "99 labels are too few to compare with a baseline"),
        (PublishedQuality(labels=300, no_learner=True), "none, as no learner runs; `millstream run` starts one"),
        (PublishedQuality(labels=300), "none within 10 s; `millstream status flights` shows them"),
    ],
)
def test_each_case_is_one_line(found: PublishedQuality, said: str) -> None:
    line = found.text("flights", 10.0)
    assert line.startswith("served metrics: ")
    assert said in line


def test_json_has_plain_values() -> None:
    plain = PublishedQuality(labels=300, learned=True, quality=GOOD).to_dict()
    assert plain["quality"]["metrics"][0]["baselines"] == {"last_label": 0.74, "frequencies": 0.5}
    assert (plain["labels"], plain["learned"], plain["no_learner"]) == (300, True, False)
