"""Models that are added to the file of a stream and removed from it while events come, as a user does it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from faults.rig import Rig
from faults.shadow_oracle import announced, comparisons, insist_on_comparisons, shadows
from faults.verdict import due
from system.commands import millstream, running, told
from system.test_several_models import check

from millstream.processes.fork_server import ForkServer
from model_store import VersionId, open_store
from schemas.comparisons import Shadow

TREE, BAYES = "several.tree", "several.bayes"
LOOP: Final = ("predictor", "joiner", "learner")
BESIDE: Final = ("shadow", "judge", "referee")
MODELS: Final = {
    "tree": "Model(lambda: tree.HoeffdingTreeClassifier(grace_period=20))",
    "bayes": "Model(naive_bayes.GaussianNB)",
}
FILE: Final = """
from river import linear_model, naive_bayes, preprocessing, tree

from millstream import Checkpoints, Labels, Model, Promote, Retention, Stream

stream = Stream(
    name="several",
    task="binary",
    model=lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    models={%s},
    label="label",
    id="id",
    features={"x": "number", "y": "number"},
    promote=Promote(loss="error", at_least=0.9, settle="1s", labels=20),
    labels=Labels(wait="1h"),
    checkpoints=Checkpoints(every="300ms", keep=Retention(last=100_000)),
    partitions=2,
)
"""


@dataclass
class Edited:
    """The stream whose file is edited."""

    rig: Rig
    file: Path

    def have(self, *names: str) -> None:
        """Write the file anew, with these models beside the stream's own."""
        write(self.file, *names)

    def learned(self, model: str) -> int:
        """Return how many examples the newest version of a model has learned; -1 without one."""
        versions = self.versions(model)
        return versions[-1].examples if versions else -1

    def versions(self, model: str) -> list[VersionId]:
        return open_store(self.rig.stream.models, self.rig.stream.home / "keys", sign=False).versions(model)

    def until_learned(self, *models: str, more: int = 20) -> None:
        """Wait until each has learned so many more than the stream's own has now."""
        target = self.rig.learned() + more
        self.rig.until(lambda: all(self.learned(model) >= target for model in models), f"{models} to learn {target}")

    def until_asked(self, *models: str) -> Shadow:
        """Wait until the newest shadow has answers of exactly these, and return it."""

        def newest() -> Shadow | None:
            found = max(self.shadows(), key=lambda each: each.time, default=None)
            answered = [each.model for each in found.challengers if each.error is None] if found else []
            return found if {*answered} == {*models} else None

        self.rig.until(newest, f"{models} to be asked")
        return max(self.shadows(), key=lambda each: each.time)

    def shadows(self) -> list[Shadow]:
        return [shadow for _, shadow in shadows(self.rig.stream)]


def write(file: Path, *names: str) -> None:
    file.write_text(FILE % ", ".join(f'"{name}": {MODELS[name]}' for name in names))


@pytest.fixture
def edited(bootstrap: str, prefix: str, tmp_path: Path, fork_server: ForkServer) -> Iterator[Edited]:
    file = tmp_path / "several.py"
    write(file, "tree")
    with Rig(bootstrap, prefix, tmp_path, fork_server, ref=file) as rig:
        yield Edited(rig, file)


def insist_on_competing_once_caught_up(edited: Edited, model: str, known: int) -> None:
    """A model that was added is announced, and so asked, once it has learned what the others knew at its start."""
    first = announced(edited.rig.stream)[model][0]
    assert first[1].examples >= known > 0
    assert min(version.examples for version in edited.versions(model)) == 0
    for shadow in edited.shadows():
        for each in shadow.challengers:
            assert each.model != model or each.error is not None or each.examples >= known


def insist_on_absence(edited: Edited, name: str) -> None:
    """Nothing that is shown of the stream has this model any more, by its file or by its name."""
    for given in (edited.rig.stream.ref, "several"):
        status = told(edited.rig.stream, "status", given)
        assert [each["name"] for each in status["models"]] == ["main", "bayes"]
        assert f"learner.{name}" not in json.dumps(status)
        assert status["compared"]["answers"].keys() == {"main", "bayes"} & status["compared"]["answers"].keys()
        assert not [each for each in status["alerts"] if name in each]
        assert [each["model"] for each in status["contest"]["standings"]] == ["bayes"]
    assert edited.rig.members_of(f"learner.{name}") == set()


def insist_on_all(edited: Edited, *served: str) -> None:
    """All is answered by these and learned, each event once; what was shadowed and labelled is compared once."""
    rig = edited.rig
    rig.end_publishing()
    rig.finish()
    labelled = due(rig.stream)
    shadowed = {shadow.event.event_id for shadow in edited.shadows()} & labelled
    rig.until(lambda: len(comparisons(rig.stream)) >= len(shadowed), f"{len(shadowed)} comparisons")
    insist_on_comparisons(rig.stream, labelled)
    assert {each.outcome.model for each in edited.shadows()} == {*served}


@pytest.mark.full
def test_a_file_that_is_edited_between_two_runs(edited: Edited, tmp_path: Path) -> None:
    rig = edited.rig
    with running(rig.stream, tmp_path / "first.log"):
        rig.publish()
        edited.until_learned("several", TREE)
    edited.have("tree", "bayes")
    known = edited.learned("several")
    with running(rig.stream, tmp_path / "added.log"):
        edited.until_learned("several", TREE, BAYES)
        edited.until_asked(TREE, BAYES)
        insist_on_competing_once_caught_up(edited, BAYES, known)
    edited.have("bayes")
    left = edited.learned(TREE)
    with running(rig.stream, tmp_path / "removed.log"):
        edited.until_learned("several", BAYES)
        edited.until_asked(BAYES)
        insist_on_absence(edited, "tree")
        assert edited.learned(TREE) == left
    edited.have("bayes", "tree")
    with running(rig.stream, tmp_path / "again.log"):
        edited.until_learned("several", TREE, BAYES)
        edited.until_asked(TREE, BAYES)
        assert {version.epoch for version in edited.versions(TREE)} == {1}
        millstream(rig.stream, "models", "verify", rig.stream.ref, str(edited.versions(TREE)[-1]))
        insist_on_all(edited, "several")
    millstream(rig.stream, "models", "promote", rig.stream.ref, "tree")
    edited.have("bayes")
    said = "tree serves by a decision, and several.py has no models={'tree': …}"
    assert said in millstream(rig.stream, "run", rig.stream.ref, code=1)
    assert said in check(rig.stream, 1)


@pytest.mark.full
def test_roles_that_were_started_one_by_one(edited: Edited) -> None:
    rig = edited.rig
    for role in (*LOOP, "learner.tree", *BESIDE):
        rig.start(role)
    rig.publish()
    edited.until_learned("several", TREE)
    edited.have("tree", "bayes")
    known = edited.learned("several")
    rig.start("learner.bayes")
    edited.until_learned("several", TREE, BAYES)
    restart(rig, *BESIDE)
    edited.until_asked(TREE, BAYES)
    insist_on_competing_once_caught_up(edited, BAYES, known)

    edited.have("bayes")
    rig.members["learner.tree-0"].end()
    restart(rig, *BESIDE)
    edited.until_learned("several", BAYES)
    edited.until_asked(BAYES)
    insist_on_absence(edited, "tree")
    complaint = millstream(rig.stream, "learner", rig.stream.ref, "--model", "tree", code=1)
    assert "it has no model 'tree'; its models are main, bayes" in complaint

    edited.have("bayes", "tree")
    rig.start("learner.tree")
    restart(rig, *BESIDE)
    edited.until_learned("several", TREE, BAYES)
    edited.until_asked(TREE, BAYES)
    assert {version.epoch for version in edited.versions(TREE)} == {1}

    restart(rig, "predictor")  # it had the file of the beginning, and runs no code but that of its own file
    millstream(rig.stream, "models", "promote", rig.stream.ref, "bayes")
    rig.until(lambda: max(edited.shadows(), key=lambda each: each.time).outcome.model == BAYES, "bayes to serve")
    insist_on_all(edited, "several", BAYES)


def restart(rig: Rig, *roles: str) -> None:
    for role in roles:
        rig.members[f"{role}-0"].end()
        rig.members[f"{role}-0"].start()
