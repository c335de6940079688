"""The range of time that a reference names: of a version, of an epoch, or two times."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from unit.log_consumer import LogConsumer

from consumers.monitor.drift.rules import Between
from millstream import Watch
from millstream.monitoring.reference import NoReference, fixed_reference
from model_store import VersionId
from runtime.kafka_client.records import Partition, PlainRecord
from schemas.topics import Names

NAMES = Names("s")
TOPIC = NAMES.topic("examples")
AT = 1_700_000_000_000
# The epoch, its examples and the next offset to read; epoch 2 began at offset 100, epoch 3 has lost its first versions.
VERSIONS = {(1, 40): 50, (1, 80): 100, (2, 0): 100, (2, 60): 160, (2, 90): 190, (3, 20): 260, (3, 50): 290}


class Store:
    """Manifests without signatures."""

    def __init__(self, *without: tuple[int, int]) -> None:
        self.there = {each: offset for each, offset in VERSIONS.items() if each not in without}

    def versions(self, model: str, epoch: int | None = None) -> list[VersionId]:
        return [VersionId(model, *each) for each in sorted(self.there) if epoch in {None, each[0]}]

    def manifest(self, version: VersionId) -> Any:
        offset = self.there[version.epoch, version.examples]
        return SimpleNamespace(version=version, shard=0, offset=offset, examples=version.examples)


def found(reference: str, store: Store | None = None, begin: int = 0, end: int = 300, holes: int = 1) -> Between | None:
    """Return the range of a reference; an example comes each second, and the offset is its number."""
    records = [PlainRecord(TOPIC, 0, at, AT + 1000 * at, None, b"") for at in range(begin, end) if at % holes == 0]
    consumer = LogConsumer(records, [Partition(TOPIC, 0)], markers=1)
    cluster: Any = SimpleNamespace(consumer=lambda: consumer)
    made: Any = store or Store()
    return fixed_reference(Watch(reference=reference), "s", made, cluster, NAMES)


def times(first: int, last: int) -> Between:
    """Return the range of the examples with these offsets."""
    return Between(AT + 1000 * first, AT + 1000 * last + 1)


def test_a_span_is_no_fixed_range_and_two_times_need_no_store() -> None:
    assert found("7d") is None
    assert found("1970-01-02 to 1970-01-03") == Between(86_400_000, 172_800_000)


def test_a_version_names_all_that_its_epoch_had_learned_until_then() -> None:
    assert found("version 1/80") == times(0, 99)
    assert found("version 1/40") == times(0, 49)
    assert found("version 2/60") == times(100, 159), "not what the epoch before has learned"
    assert found(" version 2/90 ") == times(100, 189)


def test_an_epoch_names_what_all_its_versions_have_learned() -> None:
    assert found("epoch 1") == times(0, 99)
    assert found("epoch 2") == times(100, 189)


def test_an_epoch_without_its_first_versions_begins_no_later_than_its_examples_can() -> None:
    assert found("epoch 3") == times(240, 289)
    assert found("version 3/50", Store((3, 20))) == times(240, 289)
    assert found("epoch 2", Store((1, 40), (1, 80))) == times(100, 189), "also if those before are gone"
    assert found("epoch 1", Store((1, 40))) == times(0, 99), "the first epoch begins with the log"


def test_markers_and_holes_take_offsets_too() -> None:
    assert found("epoch 2", holes=7) == times(105, 189)


def test_of_a_log_that_begins_later_the_rest_is_the_reference() -> None:
    assert found("epoch 2", begin=150) == times(150, 189)


@pytest.mark.parametrize("named", ["epoch 9", "version 2/61", "version 9/1"])
def test_what_there_is_not_is_named_with_what_there_is(named: str) -> None:
    kind = named.partition(" ")[0]
    with pytest.raises(NoReference, match=f"reference='{named}': s has no such {kind}; the newest are .*3/20, 3/50"):
        found(named)
    with pytest.raises(NoReference, match="the newest are none yet"):
        found(named, Store(*VERSIONS))


@pytest.mark.parametrize(("begin", "end"), [(200, 300), (0, 0)])
def test_examples_that_the_log_no_longer_has_are_named_with_its_beginning(begin: int, end: int) -> None:
    told = "begins at 2023-11-14 22:16:40 UTC" if end else "has no examples"
    with pytest.raises(NoReference, match=f"reference='epoch 2': s.examples {told}, .* name a later"):
        found("epoch 2", begin=begin, end=end)
