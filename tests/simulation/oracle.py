"""What holds at the end of a schedule, whatever went wrong in it: 0 lost, 0 learned twice, nothing wrong served."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from itertools import pairwise

import msgspec
from simulation.log import LoggedRecord
from simulation.reference import Joins, Pair, joins, lessons
from simulation.world import NAMES, PARTITIONS, TOPIC, World

from consumers.model.model_state import Unfit
from model_store import Manifest, VersionId
from model_store.offset_runs import Offsets
from schemas.events import Example, read_example, read_prediction
from schemas.model_updates import Published, read_model_update

_LABELS = ("joined", "duplicate", "correction", "contradicting", "late", "unknown", "refused", "forwarded", "waiting")
_WAITS = ("timeout", "unlabelled")


def check(world: World) -> None:
    """Assert all of it. `world` has settled."""
    _every_event_is_answered_once(world)
    _every_label_is_in_its_one_state(world)
    _every_pair_is_joined_once(world)
    _lanes_have_no_gaps(world)
    _every_version_is_what_its_log_says(world)
    _announcements_are_of_versions_and_go_forward(world)
    _all_is_learned_or_the_learner_says_why_not(world)


def _every_event_is_answered_once(world: World) -> None:
    answered: Counter[tuple[int, int]] = Counter()
    for record in world.log.ever(TOPIC["predictions"]):
        outcome = read_prediction(record.value or b"").outcome
        answered[outcome.source_partition, outcome.source_offset] += 1
    asked = Counter((record.partition, record.offset) for record in world.log.read(TOPIC["features"]))
    assert answered == asked, "an event has no answer, or two"


def _expected(world: World) -> Joins:
    return joins(_of_lanes(world, "predictions", 0), _of_lanes(world, "labels", 1), world.rules, PARTITIONS)


def _of_lanes(world: World, kind: str, which: int) -> list[LoggedRecord]:
    """Return a topic's records from where its lanes begin: later only where one began as a topic was another."""
    begins = Counter[int]()
    for (group, partition), place in world.log.places.items():
        if group == NAMES.group("joiner") and partition.topic == TOPIC[kind]:
            begins[partition.partition] = msgspec.json.decode(place.metadata)["begin"][which]
    if not world.remade & {TOPIC["predictions"], TOPIC["labels"]}:
        assert not any(begins.values()), "a lane begins late"
    elif TOPIC[kind] in world.remade:
        assert not any(begins.values()), "what a topic made again holds was passed over"
    return [record for record in world.log.read(TOPIC[kind]) if record.offset >= begins[record.partition]]


def _every_label_is_in_its_one_state(world: World) -> None:
    told: Counter[str] = Counter()
    for (group, partition), place in world.log.places.items():
        if group == NAMES.group("joiner") and partition.topic == TOPIC["labels"]:
            metadata = msgspec.json.decode(place.metadata)
            told.update(metadata["counts"])
            told["waiting"] += metadata["waiting"][1]
    expected = _expected(world).counts
    states = (*_LABELS, *_WAITS)
    assert {s: told[s] for s in states} == {s: expected[s] for s in states}, "a label is in another state, or in two"


def _joined(world: World) -> list[Example]:
    """Return what the joiners wrote for the topics as they are now."""
    found = [read_example(output.value or b"") for output in world.handed]
    newest = {example.lane.name: example.lane.epoch for example in found}
    if world.remade & {TOPIC["predictions"], TOPIC["labels"]}:
        epochs = {
            msgspec.json.decode(place.metadata)["epoch"]
            for (group, _), place in world.log.places.items()
            if group == NAMES.group("joiner")
        }
        return [example for example in found if example.lane.epoch in epochs]
    return [example for example in found if newest[example.lane.name] == example.lane.epoch]


def _every_pair_is_joined_once(world: World) -> None:
    expected = _expected(world)
    pairs: Counter[Pair] = Counter()
    corrections: Counter[Pair] = Counter()
    for example in _joined(world):
        label, at = example.label, example.joined
        assert label is not None
        assert at is not None
        pair = (at.partition, at.prediction_offset, at.label_offset)
        (corrections if label.kind == "correction" else pairs)[pair] += 1
        if label.kind == "label":
            assert label.value in expected.pairs.get(pair, [label.value]), f"{pair} teaches {label.value}"
    assert set(pairs) == set(expected.pairs), "a pair is lost, or another is joined"
    assert set(corrections) <= expected.corrections, "a correction of nothing"
    if not world.forgotten:
        assert max((pairs + corrections).values(), default=1) == 1, "a pair is joined twice"


def _lanes_have_no_gaps(world: World) -> None:
    if world.forgotten:
        return
    following: Counter[tuple[str, str]] = Counter()
    for output in world.handed:
        lane = read_example(output.value or b"").lane
        assert lane.sequence == following[lane.name, lane.epoch], "a lane has a gap, or a sequence twice"
        following[lane.name, lane.epoch] += 1


def _manifests(world: World) -> list[Manifest]:
    return [world.store.manifest(version) for version in world.store.versions("sim")]


def _log_of(world: World, topic_id: str) -> list[LoggedRecord]:
    examples = TOPIC["examples"]
    return world.log.read(examples) if world.log.ids[examples] == topic_id else world.log.gone[examples]


def _every_version_is_what_its_log_says(world: World) -> None:
    """A replay from version 0 that the product's lanes have no part in: who learns what is told plainly."""
    manifests = _manifests(world)
    assert manifests, "there is no version"
    assert {manifest.version.epoch for manifest in manifests} == {1}, "an epoch began that nobody asked for"
    records = _log_of(world, manifests[0].topic_id)
    taught = lessons(records)
    poisoned = {at for at, example in taught.entries if _is_poisoned(example)}
    runs = Offsets(manifests[-1].skipped)
    skipped = {at for at, _ in taught.entries if at in runs}
    assert skipped <= poisoned, "a sound example was left out"
    learning = world.checkpoints.load(world.store.manifest(VersionId("sim", 1, 0)))
    following = 0
    for manifest in manifests:
        assert taught.fault is None or manifest.offset <= taught.fault, "a version goes past a lane out of order"
        while following < len(taught.entries) and taught.entries[following][0] < manifest.offset:
            offset, example = taught.entries[following]
            with suppress(Unfit):  # refused by rule, as the learner did
                learning.apply(example, offset, offset in skipped)
            following += 1
        assert learning.learned == manifest.examples, f"{manifest.version} learned more, or less, than its log has"
        assert learning.chain.hex() == manifest.chain, f"{manifest.version} learned others, or in another order"
        assert learning.fingerprint() == manifest.fingerprint, f"{manifest.version} answers otherwise than its replay"


def _announcements_are_of_versions_and_go_forward(world: World) -> None:
    states = [read_model_update(record.value or b"").state for record in world.log.read(TOPIC["models"])]
    announced = [state for state in states if isinstance(state, Published)]
    assert announced, "no version was announced"
    for state in announced:
        version = VersionId("sim", state.epoch, state.examples)
        assert state.manifest_sha256 == world.store.manifest_sha256(version), f"{version} was announced as another"
    assert all(a.examples <= b.examples for a, b in pairwise(announced)), "an announcement went back"


def _all_is_learned_or_the_learner_says_why_not(world: World) -> None:
    newest = _manifests(world)[-1]
    taught = lessons(_log_of(world, newest.topic_id))
    if TOPIC["examples"] in world.remade:
        stopped_before = taught.fault is not None and "lane" in world.stopped
        noticed = "sim.examples[0] is another topic" in world.stopped
        assert stopped_before or noticed, "a topic made again was not noticed"
        return
    assert (taught.fault is not None) == ("lane" in world.stopped), f"the learner: {world.stopped or 'no complaint'}"
    if taught.fault is None:
        assert not world.stopped, world.stopped
        # What teaches nothing makes no version: it is in the next one.
        left = [example for at, example in taught.entries if at >= newest.offset]
        assert all(_is_correction(example) or _is_poisoned(example) for example in left), "an example was not learned"
        last = read_model_update(world.log.read(TOPIC["models"])[-1].value or b"").state
        assert isinstance(last, Published)
        assert last.examples == newest.examples, "the newest version was not announced"


def _is_correction(example: Example) -> bool:
    return example.label is not None and example.label.kind == "correction"


def _is_poisoned(example: Example) -> bool:
    return isinstance(example.event.features.get("x"), str)
