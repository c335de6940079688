"""The version that a command is about, from what was typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from store_parts import draft

from millstream.cli.shared_options import UsageError
from millstream.cli.version_choice import version_meant, version_or_newest
from millstream.config.settings import Settings
from model_store import ModelStore, NotFound, VersionId, open_store
from schemas.topics import Names

NAMES = Names("fraud")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path, bootstrap="localhost:1")


@pytest.fixture
def store(settings: Settings) -> ModelStore:
    return open_store(settings.models, settings.keys, sign=True)


def publish(store: ModelStore, *versions: VersionId) -> None:
    for version in versions:
        store.publish(draft(version), {"model": b"x"})


def test_a_version_or_the_name_of_a_model_for_its_newest(store: ModelStore) -> None:
    publish(store, *(VersionId(of, 1, count) for of in ("fraud", "fraud.forest") for count in (7, 30, 200)))
    said = {each: str(version_meant(store, NAMES, each)) for each in ("main", "forest", "1/7", "forest:1/30", "2/9")}
    assert said == {
        "main": "1/200", "forest": "forest:1/200", "1/7": "1/7", "forest:1/30": "forest:1/30", "2/9": "2/9",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("oak", r"'oak' is no version and no model of fraud: .* that has versions: main, forest"),
        ("forest:1", "'forest:1' is no version: write epoch/examples"),
        ("../x", r"'\.\./x' is no version: write epoch/examples"),
    ],
)
def test_what_is_neither_is_said_with_the_names_there_are(store: ModelStore, given: str, said: str) -> None:
    publish(store, VersionId("fraud", 1, 7), VersionId("fraud.forest", 1, 7))
    with pytest.raises(UsageError, match=said):
        version_meant(store, NAMES, given)


def test_without_one_and_without_a_broker_the_stream_s_own_model_is_meant(
    settings: Settings, store: ModelStore
) -> None:
    with pytest.raises(NotFound, match="there are no versions of fraud: the learner writes the first"):
        version_or_newest(store, settings, NAMES, None)
    publish(store, VersionId("fraud", 1, 7), VersionId("fraud", 1, 30), VersionId("fraud.forest", 1, 40))
    assert str(version_or_newest(store, settings, NAMES, None)) == "1/30"
    assert str(version_or_newest(store, settings, NAMES, "forest")) == "forest:1/40"
