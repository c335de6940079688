"""`millstream drift` on a real Kafka: tables, JSON, a page, and what it says where there is nothing to compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Run
from loop_helpers import SECONDS, raw_producer

from consumers.monitor.profiles import WindowProfiles
from millstream.cli import app as cli
from millstream.topics import admin
from runtime.kafka_client.cluster import Cluster
from schemas.profiles import DAY_MS, HOUR_MS, Window
from schemas.topics import Names

START = 20_000 * DAY_MS
HOURS = 4 * 24


@pytest.fixture
def stream(tmp_path: Path) -> str:
    path = tmp_path / "phishing.py"
    path.write_text(
        "from millstream import Stream, Watch\nfrom river import linear_model\n"
        "stream = Stream(name='phishing', task='binary', model=lambda: linear_model.LogisticRegression(),\n"
        "    features={'amount': 'number', 'colour': 'string'}, watch=Watch(window='1h', reference='3d'))\n"
    )
    return str(path)


@pytest.fixture
def made(cluster: Cluster, names: Names) -> Names:
    admin.create(cluster, names, partitions=1, label_wait_ms=60_000)
    return names


def window(hour: int, rows: Sequence[dict[str, Any]], names: Names) -> Window:
    profiles = WindowProfiles(500, None)
    profiles.add_features(rows)
    found, pairs, left_out = profiles.finish(len(rows))
    start, topic = START + hour * HOUR_MS, names.whole
    place = (topic, 0, hour * 1000, hour * 1000 + len(rows), start, HOUR_MS, start, start + HOUR_MS - 1, len(rows))
    return Window("predictions", *place, {}, found, left_out, pairs, [])


@pytest.fixture
def drifted(cluster: Cluster, made: Names) -> Names:
    """Write four days of windows, and four hours in which the amount is 3 standard deviations larger."""
    random, records = np.random.default_rng(1), []
    for hour in range(HOURS + 4):
        amounts = random.normal(10, 2, 100) + (6 if hour >= HOURS else 0)
        colours = random.choice(["red", "<b>blue"], 100)
        rows = [{"amount": float(a), "colour": str(c)} for a, c in zip(amounts, colours, strict=True)]
        records.append(window(hour, rows, made))
    producer = raw_producer(cluster)
    for each in records:
        producer.send(made.topic("profiles"), each.encode(), key=each.key, partition=0)
    producer.send(made.topic("profiles"), b"junk", key=b"junk", partition=0)
    producer.flush(SECONDS)
    producer.close()
    return made


def test_it_names_what_has_drifted_by_how_much_and_since_when(run: Run, drifted: Names, stream: str) -> None:
    code, said, errors = run("drift", stream)
    assert (code, errors) == (0, "")
    found = {(each["check"], each["subject"]): each for each in said["findings"]}
    mean = found["mean", "feature:amount"]
    assert mean["value"] == pytest.approx(16, abs=1)
    assert mean["usual"] == pytest.approx(10, abs=1)
    assert mean["since_ms"] == START + HOURS * HOUR_MS
    assert {subject for _, subject in found} == {"feature:amount"}
    assert said["values"]["feature:amount"]["now"]["mean"] == pytest.approx(16, abs=1)
    assert said["reference"]["to"] == START + HOURS * HOUR_MS
    assert run("drift", stream, "--fail")[0] == 1


def test_one_feature_alone_and_since_a_time(run: Run, drifted: Names, stream: str) -> None:
    code, said, _ = run("drift", stream, "--feature", "colour", "--since", str(START + 24 * HOUR_MS))
    assert code == 0
    assert list(said["values"]) == ["feature:colour"]
    assert said["findings"] == []
    assert said["now"]["from"] == START + 24 * HOUR_MS


def test_the_page_shows_both_distributions_and_lets_no_category_through_as_html(
    drifted: Names, stream: str, environment: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "drift.html"
    assert cli.run(["drift", stream, "--html", str(page)]) == 0
    assert "feature:amount" in capsys.readouterr().out
    text = page.read_text()
    assert text.count("<svg") == 4
    assert "<b>blue" not in text
    assert "&lt;b&gt;blue" in text
    assert 'class="since"' in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--feature", "amuont"), "did you mean amount?"),
        (("--since", "yesterday"), "no point in time"),
        (("--since", "2099-01-01T00:00"), "no window since then: the newest begins at 2024-10-08"),
        (("--html", "/nowhere/drift.html"), "there is no folder /nowhere"),
    ],
)
def test_what_leads_nowhere_is_one_line(
    run: Run, drifted: Names, stream: str, words: tuple[str, str], expected: str
) -> None:
    code, said, errors = run("drift", stream, *words)
    assert code in {1, 2}
    assert said is None
    assert expected in errors
    assert len(errors.splitlines()) == 1


def test_without_windows_or_topics_it_says_what_to_do(run: Run, cluster: Cluster, names: Names, stream: str) -> None:
    code, _, errors = run("drift", stream)
    assert code == 1
    assert "millstream topics create" in errors
    assert "millstream monitor" in errors
    admin.create(cluster, names, partitions=1, label_wait_ms=60_000)
    code, _, errors = run("drift", stream)
    assert code == 1
    assert "has no windows yet" in errors
