"""What the referee writes beside its offset, and what status and metrics say of it."""

from __future__ import annotations

from pathlib import Path

import msgspec
from prometheus_client.registry import CollectorRegistry

from consumers.referee.contest import Standing
from consumers.referee.offset_metadata import Decided, RefereeMetadata
from consumers.referee.settling import Begun
from consumers.roles import REFEREE
from millstream import Guard, Labels, Model, Promote, Stream
from millstream.observability.prometheus.collector import RoleCollector
from millstream.observability.prometheus.exit_counts import Ends
from millstream.observability.prometheus.role_metrics import RoleMeter
from millstream.status.contest_state import ContestState
from millstream.stream.promotion_rule import promotion_rule
from runtime.kafka_client import size_limits
from runtime.kafka_client.records import CommittedOffset, Partition

TEXT = (
    '{"t":"0123456789abcdef","gone":0,"begun":0,"of":"fedcba9876543210","contest":[7,9,1700],"guard":[8,8,1800],'
    '"epochs":{"main":1,"forest":2},"decided":["s.forest","s","rule","ab"],"barred":{"tree":3},"champion":"forest",'
    '"pinned":false,"would":"","needed":1000,"at_least":0.005,'
    '"standings":[["main",1,1200,-0.02,-0.05,0.01,0.2,0.22,false]],"waiting":12,"promoted":1,"returned":0,'
    '"promoted_epoch":-1,'
    '"alerts":["referee.promoted"]}'
)
METADATA = RefereeMetadata(
    topic_id="0123456789abcdef",
    contest_of="fedcba9876543210",
    contest=Begun(7, 9, 1700),
    guard=Begun(8, 8, 1800),
    epochs={"main": 1, "forest": 2},
    decided=Decided("s.forest", "s", "rule", "ab"),
    barred={"tree": 3},
    champion="forest",
    needed=1000,
    at_least=0.005,
    standings=[Standing("main", 1, 1200, -0.02, -0.05, 0.01, 0.2, 0.22, False)],
    waiting=12,
    promoted=1,
    alerts=["referee.promoted"],
)


def test_a_text_is_read_and_written_again_to_the_letter() -> None:
    assert METADATA.encode() == TEXT
    assert RefereeMetadata.decode(TEXT) == METADATA


def test_the_most_models_with_the_longest_names_fit_beside_an_offset() -> None:
    names = [f"{number:031d}" for number in range(17)]
    standing = Standing("s", 1_000, 10**9, -0.123456789, -0.123456789, -1.23456789e-5, 1.23456789, 123.456789, False)
    most = RefereeMetadata(
        topic_id="f" * 16,
        contest_of="f" * 16,
        contest=Begun(10**12, 10**12, 10**13),
        guard=Begun(10**12, 10**12, 10**13),
        epochs=dict.fromkeys(names, 1_000),
        decided=Decided("s" * 63 + "." + names[0], "s" * 63 + "." + names[1], "guard", "f" * 32),
        barred=dict.fromkeys(names, 1_000),
        champion=names[0],
        standings=[_named(name, standing) for name in names[1:]],
        waiting=10**9,
        promoted=10**6,
        returned=10**6,
        alerts=["referee.promoted", "referee.returned", "referee.would-promote", "referee.loss"],
    )
    assert len(most.encode()) < size_limits.OFFSET_METADATA


def _named(name: str, standing: Standing) -> Standing:
    return msgspec.structs.replace(standing.brief(), model=name)


def _state(**changes: object) -> ContestState:
    fields = {"needed": 1000, "at_least": 0.005, "waiting": 12, "would": "", "promoted": 1, "returned": 0, **changes}
    return ContestState(champion="forest", **fields)  # type: ignore[arg-type]


def test_the_status_says_what_each_challenger_lacks() -> None:
    stands = METADATA.standings[0]
    first, second = _state(standings=(stands,)).lines()
    assert first == "forest serves; promoted by the rule 1, taken back by the guard 0; 12 labels have not settled"
    assert second == (
        "main: mean loss 0.22 instead of 0.2, -0.02 lower (-0.05 to 0.01), 1,200 labelled events, "
        "lacks a lower bound above 0.005"
    )
    assert "lacks 300 more" in _state(standings=(stands,), needed=1500).lines()[1]
    assert "a version is pinned" in _state(standings=(stands,), would="main").lines()[1]
    barred = Standing("b", 2, 1200, 0.1, 0.05, 0.2, 0.2, 0.1, True)
    assert "epoch 2 was taken back and is not promoted again" in _state(standings=(barred,)).lines()[1]
    unknown = Standing("b", -1, 0, None, None, None, None, None, False)
    assert _state(standings=(unknown,)).lines()[1] == "b: no labelled event counts yet"


def test_its_metrics_are_those_of_the_metadata(tmp_path: Path) -> None:
    meter = RoleMeter(Ends(tmp_path / "ends.json"))
    place = Partition("s.comparisons", 0)
    meter.assigned([place])
    meter.committed([], {place: CommittedOffset(1, TEXT)}, 0.01)
    registry = CollectorRegistry()
    registry.register(RoleCollector(meter, "s", REFEREE, "s.referee-0"))
    value = registry.get_sample_value
    of = {"stream": "s", "role": REFEREE}
    assert value("millstream_contest_labels", {**of, "model": "main"}) == 1200
    assert value("millstream_contest_difference", {**of, "model": "main", "bound": "lower"}) == -0.05
    assert value("millstream_contest_waiting", of) == 12
    assert value("millstream_promotions_total", {**of, "by": "rule"}) == 1


def test_the_rule_is_that_of_the_stream_file_with_the_label_wait_as_its_settling_time() -> None:
    def make() -> None:
        return None

    def stream(promote: Promote | None) -> Stream:
        return Stream(
            name="s", task="binary", model=make, models={"b": Model(make)}, labels=Labels(wait="1h"), promote=promote
        )

    assert promotion_rule(stream(None)) is None
    plain = promotion_rule(stream(Promote(contest="2d", at_least=0.01)))
    assert plain is not None
    assert (plain.models, plain.settle_ms, plain.guard.settle_ms) == (("s", "s.b"), 3_600_000, 3_600_000)
    assert (plain.contest_ms, plain.at_least, plain.labels) == (2 * 86_400_000, 0.01, 1000)
    own = promotion_rule(stream(Promote(settle="10m", guard=Guard(settle="1m", errors=0.02, at_least=0.1))))
    assert own is not None
    assert (own.settle_ms, own.guard.settle_ms, own.guard.errors, own.guard.at_least) == (600_000, 60_000, 0.02, 0.1)
    again = promotion_rule(stream(Promote(contest="2d", at_least=0.01)))
    assert again is not None
    assert own.fingerprint() != plain.fingerprint() == again.fingerprint()
