"""Versions and a joiner's disk that another commit wrote: both are read, and the versions answer as they did.

The archive is that of `tests/simulation/test_stored_state.py`: the files of a stream that ran on a real Kafka.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any, Final

import pytest
from user_files import forgetful

from consumers.model.checkpoints import LearnerCheckpoints
from millstream.config.settings import Settings
from millstream.stream.load import LoadedStream, load_stream
from millstream.stream.processor_rules import learning_rules
from millstream.version_code.choice import OtherCode, VersionCode, definition_of
from model_store import ModelStore, VersionId, open_store

__all__ = ["forgetful"]

ARCHIVE: Final = Path(__file__).parents[1] / "data" / "state-before-the-folders.tar.xz"
VERSIONS: Final = [VersionId("fraud", 1, examples) for examples in (0, 20, 300, 400)]
TODAY: Final = """
from river import linear_model, preprocessing

from millstream import Checkpoints, Labels, Stream
from scaling import Shrink


def model():
    return Shrink() | preprocessing.StandardScaler() | linear_model.LogisticRegression()


stream = Stream(
    name="fraud",
    task="binary",
    model=model,
    label="fraud",
    features={"amount": "number", "age": "number"},
    labels=Labels(wait="7d"),
    checkpoints=Checkpoints(examples=50),
)
"""


@pytest.fixture
def stored(tmp_path: Path, forgetful: None) -> tuple[Path, Settings, ModelStore]:
    """Lend the folder of the old stream file, settings of its home, and its store."""
    with tarfile.open(ARCHIVE) as archive:
        # Python 3.11.2 has no filters yet; later ones ask for one.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
        archive.extractall(tmp_path)  # noqa: S202 - an archive of ours
    home, folder = tmp_path / "home", tmp_path / "fraud"
    home.mkdir()
    for kept in ("models", "keys"):
        shutil.move(folder / kept, home / kept)
    settings = Settings(home, "nowhere:1")
    return folder, settings, open_store(settings.models, settings.keys, sign=False)


def today(folder: Path, rate: str = "0.5") -> LoadedStream:
    """Return the same stream with its groups; `rate` is in the module beside it."""
    (folder / "fraud.py").write_text(TODAY)
    beside = folder / "scaling.py"
    beside.write_text(beside.read_text().replace("RATE = 0.5", f"RATE = {rate}"))
    return load_stream(str(folder / "fraud.py"))


def answers(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]


def again(code: VersionCode, store: ModelStore, folder: Path) -> int:
    """Ask every version for the answers that it gave, and return how many were equal."""
    equal, faces = 0, {}
    for version in VERSIONS:
        manifest = store.manifest(version)
        run_with = code.to_answer(manifest)
        model = store.load(manifest, "model", extra_allowed=run_with.allowed, find=run_with.find)
        faces[f"{version.epoch}/{version.examples}"] = run_with.face(model, "binary")
    for answer in answers(folder):
        found = faces[answer["version"]].predict(answer["features"])
        shares = {str(label).lower(): share for label, share in found.probabilities.items()}
        assert shares == pytest.approx(answer["probabilities"], rel=1e-12), answer["event_id"]
        equal += 1
    return equal


def test_all_versions_are_there_and_are_of_todays_definition(stored: tuple[Path, Settings, ModelStore]) -> None:
    folder, _, store = stored
    loaded = today(folder)
    assert list(store.versions("fraud")) == VERSIONS
    own = definition_of(loaded)
    for version in VERSIONS:
        manifest = store.manifest(version)
        assert (manifest.definition, manifest.contract) == (own.hash, own.contract)


def test_they_give_the_answers_that_they_gave(stored: tuple[Path, Settings, ModelStore]) -> None:
    folder, _, store = stored
    assert again(VersionCode(today(folder), store, "own"), store, folder) == 420


def test_with_another_file_today_they_answer_with_the_code_that_they_carry(
    stored: tuple[Path, Settings, ModelStore],
) -> None:
    folder, _, store = stored
    loaded = today(folder, rate="0.25")
    with pytest.raises(OtherCode, match="RATE"):
        VersionCode(loaded, store, "own").to_answer(store.manifest(VERSIONS[-1]))
    assert again(VersionCode(loaded, store, "version"), store, folder) == 420


def test_a_learner_goes_on_from_the_newest(stored: tuple[Path, Settings, ModelStore]) -> None:
    folder, _, store = stored
    loaded = today(folder)
    checkpoints = LearnerCheckpoints(
        store, definition_of(loaded), learning_rules(loaded.stream), loaded.stream.checkpoints.keep
    )
    learner = checkpoints.load(store.manifest(VERSIONS[-1]))  # it compares the fingerprint
    assert learner.learned == 400
