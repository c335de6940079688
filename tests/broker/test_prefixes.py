"""One cluster, one name, two prefixes: neither sees the other's topics, groups, versions, decisions or status."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from raw_kafka import raw_admin
from river import linear_model, preprocessing
from whole_loop import WholeLoop, whole_loop

from millstream import Checkpoints, Stream
from millstream.config.settings import Settings
from millstream.status.snapshot import Observer
from millstream.versions.decisions import decide
from runtime.kafka_client.cluster import Cluster
from schemas.model_updates import Serving
from schemas.topics import KINDS

STREAM = Stream(
    name="shared",
    task="binary",
    model=lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    checkpoints=Checkpoints(every="100ms"),
)


def work(loop: WholeLoop, count: int, *, inverted: bool) -> None:
    """Send events of the same ids as the other stream's, and labels of its own."""
    rng = random.Random(1)
    for number in range(count):
        x = rng.gauss(0, 1)
        loop.event(f"e{number}", {"x": x})
        loop.label(f"e{number}", (x > 0) != inverted)


def probability(loop: WholeLoop) -> float:
    """Return what the newest version answers to 2.0."""
    manifest = loop.store.manifest(loop.store.versions("shared")[-1])
    return float(loop.store.load(manifest, "model").predict_proba_one({"x": 2.0})[True])


def test_two_streams_of_one_name_live_side_by_side(bootstrap: str, prefix: str, tmp_path: Path) -> None:
    ann, bob = f"{prefix}ann-", f"{prefix}ann-bob-"  # one begins as the other does
    with (
        whole_loop(STREAM, bootstrap, ann, tmp_path / "ann") as anns,
        whole_loop(STREAM, bootstrap, bob, tmp_path / "bob") as bobs,
    ):
        work(anns, 40, inverted=False)
        work(bobs, 25, inverted=True)
        anns.wait_until(lambda: anns.learned() == 40, "hers to be learned")
        bobs.wait_until(lambda: bobs.learned() == 25, "his to be learned")
        assert (len(anns.predictions()), len(bobs.predictions())) == (40, 25)
        assert (len(anns.examples()), len(bobs.examples())) == (40, 25)
        assert probability(anns) > 0.5 > probability(bobs)
        decide(anns.cluster, anns.names, Serving("shared", 0, 1, 0, "ann", "pinned by her"))
        with Observer(anns.cluster, anns.names) as hers, Observer(bobs.cluster, bobs.names) as his:
            seen, other = hers.look(), his.look()
        assert seen.serving is not None
        assert other.serving is None, "what she pinned is nothing to him"
        assert {kind for kind, _ in seen.ends} == {kind for kind, _ in other.ends}
        assert sum(seen.ends[place] for place in seen.ends if place[0] == "features") == 40
        assert sum(other.ends[place] for place in other.ends if place[0] == "features") == 25
        assert seen.members == other.members
        assert {role for role, count in seen.members.items() if count} == {"predictor", "joiner", "learner"}
    with raw_admin(Cluster(bootstrap)) as admin:
        mine = {topic for topic in admin.list_topics() if topic.startswith(prefix)}
    assert mine == {f"{each}shared.{kind}" for each in (ann, bob) for kind in KINDS}


@pytest.mark.parametrize("store", [None, "s3://bucket/models"])
def test_places_outside_the_cluster_are_each_prefixs_own(store: str | None, tmp_path: Path) -> None:
    ann, bob = (Settings(tmp_path, prefix=each, store=store) for each in ("ann-", "bob-"))
    assert ann.models != bob.models
    assert ann.state(ann.names("shared")) != bob.state(bob.names("shared"))
    assert ann.names("shared").process("learner", "0") != bob.names("shared").process("learner", "0")
