"""What status and metrics say of compared models, from the offset metadata of shadow and judge."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from consumers import roles
from consumers.judge.offset_metadata import JudgeMetadata
from consumers.shadow.offset_metadata import ShadowMetadata, model_counts
from millstream.observability.prometheus.collector import RoleCollector
from millstream.observability.prometheus.exit_counts import Ends
from millstream.observability.prometheus.role_metrics import RoleMeter
from millstream.status.compared_state import compared_state
from millstream.status.snapshot import Commit, StreamSnapshot
from runtime.kafka_client.records import CommittedOffset, Partition
from schemas.comparisons import MODEL_FAILED, NO_USABLE_VERSION, NO_VERSION, Challenger
from schemas.topics import Names

NAMES = Names("fraud", models=("forest",))
FIRST = ShadowMetadata(
    shadowed=80,
    left_out=30,
    halved=1,
    share=0.5,
    unsliced=2,
    models={"fraud.forest": (69, 1)},
    unasked={"fraud.forest": 10},
)
SECOND = ShadowMetadata(shadowed=30, models={"fraud.forest": (20, 0), "fraud": (10, 0)})
JUDGED = JudgeMetadata(40, "e", "i", {"joined": 40}, waiting=(7, 3))


def snapshot(**committed: dict[tuple[str, int], Commit]) -> StreamSnapshot:
    asked = tuple(role.name for role in roles.of_stream(NAMES) if role.optional)
    return StreamSnapshot(0, {}, {}, committed, {}, asked_for=asked)


def test_status_adds_up_the_partitions_by_model() -> None:
    shadow = {("predictions", 0): Commit(100, FIRST), ("predictions", 1): Commit(30, SECOND)}
    judge = {("shadows", 0): Commit(70, JUDGED), ("labels", 0): Commit(50, JUDGED)}
    found = compared_state(snapshot(shadow=shadow, judge=judge))
    assert found is not None
    assert (found.shadows, found.left_out, found.comparisons, found.shadows_waiting) == (110, 30, 40, 7)
    assert found.lines() == [
        "110 events shadowed, 40 compared with their label, 7 wait for one; "
        "a share of 0.5 of the events is shadowed now",
        "main: 10 answers, 0 errors",
        "forest: 89 answers, 1 errors; 10 events came before its first version",
    ]


def test_an_event_before_the_first_version_is_neither_an_answer_nor_an_error() -> None:
    note = ShadowMetadata()
    note.keep(["fraud", "fraud.forest"])
    for epoch, examples, said, error in (
        (-1, -1, None, NO_VERSION),
        (1, 0, None, None),  # it has learned nothing
        (1, 5, True, None),
        (1, 5, None, MODEL_FAILED),
        (-1, -1, None, NO_USABLE_VERSION),
    ):
        note.note(Challenger("fraud.forest", epoch, examples, 1, said, None, error))
    again = ShadowMetadata.decode(note.encode())
    assert again is not None
    assert model_counts([again, note]) == {"fraud.forest": (2, 4, 4)}
    again.keep(["fraud"])
    assert (again.models, again.unasked) == ({}, {})


def test_before_a_shadow_role_has_worked_there_is_nothing_to_say() -> None:
    assert compared_state(snapshot()) is None


def metrics(role: str, folder: Path, **metadata: str) -> str:
    meter = RoleMeter(Ends(folder / "ends.json"))
    meter.names(NAMES)
    places = {Partition(f"fraud.{kind}", 0): text for kind, text in metadata.items()}
    meter.assigned([*places])
    meter.committed([], {at: CommittedOffset(1, text) for at, text in places.items()}, 0.1)
    registry = CollectorRegistry()
    registry.register(RoleCollector(meter, "fraud", role, f"fraud.{role}-0"))
    return generate_latest(registry).decode()


def test_metrics_of_a_shadow_role(tmp_path: Path) -> None:
    text = metrics("shadow", tmp_path, predictions=FIRST.encode())
    of = 'role="shadow",stream="fraud"'
    for line in (
        f'millstream_shadow_answers_total{{model="fraud.forest",{of}}} 69.0',
        f'millstream_shadow_errors_total{{model="fraud.forest",{of}}} 1.0',
        f'millstream_shadow_unasked_total{{model="fraud.forest",{of}}} 10.0',
        'millstream_shadow_predictions_total{role="shadow",state="left_out",stream="fraud"} 30.0',
        f'millstream_shadow_share{{partition="0",{of}}} 0.5',
        f"millstream_shadow_unsliced_total{{{of}}} 2.0",
    ):
        assert line in text


def test_metrics_of_a_judge_are_not_those_of_a_joiner(tmp_path: Path) -> None:
    text = metrics("judge", tmp_path, shadows=JUDGED.encode(), labels=JUDGED.encode())
    of = 'role="judge",stream="fraud"'
    assert f'millstream_comparisons_total{{partition="0",{of}}} 40.0' in text
    assert f'millstream_comparisons_waiting{{kind="label",partition="0",{of}}} 3.0' in text
    assert "millstream_labels_total{" not in text
