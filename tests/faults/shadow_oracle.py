"""The oracle of compared models: every shadow answer computed again from the topics and the store alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from system.oracle import Stream, read_all

from consumers.model.river_model import RiverModel
from consumers.model.version_loader import VersionLoader
from consumers.roles import SHADOW
from consumers.shadow.event_share import MOST_HALVED, chosen
from consumers.shadow.offset_metadata import ShadowMetadata
from millstream.config.settings import Settings
from millstream.stream.load import load_stream
from millstream.version_code.choice import VersionCode
from model_store import VersionId, open_store
from runtime.kafka_client.cluster import Cluster
from schemas.codec import SHADOW_TICK
from schemas.comparisons import Challenger, Comparison, Shadow, read_comparison, read_shadow
from schemas.events import Features, is_joinable, read_prediction
from schemas.model_updates import Published, read_model_update


def shadows(stream: Stream) -> list[tuple[int, Shadow]]:
    """Return all shadows with their partition, in order."""
    held = read_all(stream.bootstrap, stream.names.topic("shadows"))
    return [(each.partition, read_shadow(each.value)) for each in held if not each.value.startswith(SHADOW_TICK.header)]


def comparisons(stream: Stream) -> list[Comparison]:
    held = read_all(stream.bootstrap, stream.names.topic("comparisons"))
    return [read_comparison(each.value) for each in held]


def announced(stream: Stream) -> dict[str, list[tuple[int, VersionId]]]:
    """Return the versions of each model with the broker's times of their announcements."""
    found: dict[str, list[tuple[int, VersionId]]] = defaultdict(list)
    for record in read_all(stream.bootstrap, stream.names.topic("decisions")):
        state = read_model_update(record.value).state
        if isinstance(state, Published):
            found[state.model].append((record.timestamp, VersionId(state.model, state.epoch, state.examples)))
    return found


class Again:
    """Gives shadow answers again."""

    def __init__(self, stream: Stream) -> None:
        loaded = load_stream(stream.ref)
        store = open_store(str(stream.models), Settings(home=stream.home, prefix=stream.prefix).keys, sign=False)
        self._loader = VersionLoader(store, loaded.stream.task, VersionCode(loaded, store).to_answer)
        self._faces: dict[VersionId, RiverModel] = {}
        self._known = announced(stream)

    def known(self, model: str, time: int) -> tuple[VersionId, int] | None:
        """Return the newest version announced before `time`, and when."""
        before = [(version, -at) for at, version in self._known[model] if at < time]
        return None if not before else (max(before)[0], -max(before)[1])

    def said(self, version: VersionId, features: Features) -> Any:
        if version not in self._faces:
            manifest = self._loader.store.manifest(version)
            self._faces[version] = self._loader.load(manifest, None).face
        return self._faces[version].predict(features)


def left_out(stream: Stream) -> int:
    """Return how many predictions the role says it has left out, because it was more than a minute behind."""
    with Cluster(stream.bootstrap).admin() as client:
        places = client.list_group_offsets(stream.names.group(SHADOW)).values()
    notes = [ShadowMetadata.decode(place.metadata) for place in places]
    return sum(note.left_out for note in notes if note is not None)


def insist(stream: Stream, *, models: int) -> int:
    """Fail unless each prediction since the first shadow has one, with the answers that are due; return how many.

    Those that were left out on purpose have none: they are counted, and none of them is among the smaller share.
    """
    predictions = {}
    for record in read_all(stream.bootstrap, stream.names.topic("predictions")):
        if is_joinable(record.value):
            predictions[record.partition, record.offset] = record
    found = shadows(stream)
    places = Counter((shadow.partition, shadow.offset) for _, shadow in found)
    assert max(places.values()) == 1, "a prediction has several shadows"
    firsts: dict[int, int] = {}
    for partition, offset in places:
        firsts[partition] = min(offset, firsts.get(partition, offset))
    due = {place for place in predictions if place[1] >= firsts.get(place[0], 0)}
    assert {*places} <= due
    missing = [read_prediction(predictions[place].value).event.event_id for place in due - {*places}]
    assert len(missing) == left_out(stream)
    assert not any(chosen(event_id.encode(), 0.5**MOST_HALVED) for event_id in missing)
    again = Again(stream)
    for partition, shadow in found:
        record = predictions[shadow.partition, shadow.offset]
        prediction = read_prediction(record.value)
        assert (partition, shadow.time) == (record.partition, record.timestamp)
        assert shadow.outcome == prediction.outcome
        assert shadow.event.event_id == prediction.event.event_id
        assert len(shadow.challengers) == models - 1
        for challenger in shadow.challengers:
            assert challenger.model != prediction.outcome.model
            _insist_on(again, challenger, shadow.time, prediction.event.features)
    return len(found)


def _insist_on(again: Again, challenger: Challenger, time: int, features: Features) -> None:
    known = again.known(challenger.model, time)
    if known is None:
        assert (challenger.error, challenger.epoch) == ("no-version", -1)
        return
    version, at = known
    assert (challenger.epoch, challenger.examples) == (version.epoch, version.examples), (challenger, time, at)
    answer = again.said(version, features)
    assert challenger.error is None
    assert challenger.prediction == answer.value
    assert challenger.probabilities == answer.wire_probabilities()


def insist_on_comparisons(stream: Stream, labelled: set[str]) -> int:
    """Fail unless each shadow whose event has a label is compared once; return how many."""
    shadowed = {shadow.event.event_id for _, shadow in shadows(stream)}
    found = comparisons(stream)
    counts = Counter(each.shadow.event.event_id for each in found)
    assert {*counts} == shadowed & labelled
    assert max(counts.values()) == 1
    lanes: Counter[str] = Counter()
    for each in found:
        assert each.lane.sequence == lanes[each.lane.name]
        lanes[each.lane.name] += 1
    return len(found)
