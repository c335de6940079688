"""What roles write beside their offsets: older and newer processes of one group read what the other has written.

The texts were written by the version before the structs. A change of any of them is a change that a rolling upgrade
meets; none may be changed here without saying how an older process reads the new text.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from consumers import roles
from consumers.intake.offset_metadata import IntakeMetadata
from consumers.joiner.join_state import JoinState
from consumers.joiner.offset_metadata import JoinerMetadata, LocalPlace, read_local
from consumers.learner.offset_metadata import LearnerMetadata
from consumers.loop.offset_metadata import MetadataTooLong, OffsetMetadata
from consumers.offset_metadata import kind_of, read
from consumers.predictor.offset_metadata import PredictorMetadata
from runtime.kafka_client.records import CommittedOffset

COMMITTING = tuple(role.name for role in roles.TABLE if not role.on_demand)
BEFORE_A_VERSION = '{"v":null,"t":"0123456789abcdef","gone":3,"begun":4,"spread":6}'
SERVING = (
    '{"v":"2/1200","at":1700000000123,"delay":450,"m":"fraud","t":"0123456789abcdef","gone":3,"begun":4,"spread":6}'
)
NOT_FIRST_TO_SERVE = SERVING.replace("450", "null")
TAKING_IN = '{"t":"0123456789abcdef","gone":1,"begun":2,"mapped":7,"skipped":2,"refused":1}'
JOINING = (
    '{"seq":14,"epoch":"e-1","ids":"ids","counts":{"joined":14,"late":1},"waiting":[6,0],"clock":[1700,1800],'
    '"examined":1700,"oldest":1500,"each":["aa","bb"],"begin":[5,6],"spread":6}'
)
BEGINNING_TO_JOIN = (
    '{"seq":0,"epoch":"e","ids":"ids","counts":{},"waiting":[0,0],"clock":[0,0],"examined":0,"oldest":0,'
    '"each":["",""],"begin":[0,0],"spread":0}'
)
LEARNING = (
    '{"v":"2/1200","paused":false,"learned":1250,"skipped":3,"bytes":5120,"full":false,"alerts":["learner.memory"],'
    '"read":1300,"at":1210}'
)
OF_TODAY: list[tuple[str, OffsetMetadata]] = [
    (BEFORE_A_VERSION, PredictorMetadata(topic_id="0123456789abcdef", gone=3, begun=4, spread=6)),
    (SERVING, PredictorMetadata("2/1200", 1700000000123, 450, "fraud", "0123456789abcdef", 3, 4, 6)),
    (NOT_FIRST_TO_SERVE, PredictorMetadata("2/1200", 1700000000123, None, "fraud", "0123456789abcdef", 3, 4, 6)),
    (TAKING_IN, IntakeMetadata("0123456789abcdef", 1, 2, mapped=7, skipped=2, refused=1)),
    (
        JOINING,
        JoinerMetadata(
            14, "e-1", "ids", {"joined": 14, "late": 1}, (6, 0), (1700, 1800), 1700, 1500, ("aa", "bb"), (5, 6), 6
        ),
    ),
    (BEGINNING_TO_JOIN, JoinerMetadata(0, "e", "ids", {})),
    (LEARNING, LearnerMetadata("2/1200", False, 1250, 3, 5120, False, ["learner.memory"], read=1300, at=1210)),
]


@pytest.mark.parametrize(("text", "metadata"), OF_TODAY)
def test_a_text_is_read_and_written_again_to_the_letter(text: str, metadata: OffsetMetadata) -> None:
    assert type(metadata).decode(text) == metadata
    assert metadata.encode() == text
    assert read(metadata.role, text) == metadata


@pytest.mark.parametrize(("text", "metadata"), OF_TODAY)
def test_what_a_newer_version_adds_is_passed_over(text: str, metadata: OffsetMetadata) -> None:
    newer = json.dumps({"before": {"deep": [1]}, **json.loads(text), "after": None})
    assert type(metadata).decode(newer) == metadata


FROM_BEFORE: list[tuple[str, OffsetMetadata]] = [
    # Before the topic, what was gone, and the spread were noted.
    ('{"v":"1/20","at":9000,"delay":null}', PredictorMetadata("1/20", 9000, None)),
    ('{"spread":3}', PredictorMetadata(spread=3)),
    # Before each topic's own id, the lane's beginning and the spread were.
    (
        '{"seq":2,"epoch":"e","ids":"i","counts":{"joined":2},"waiting":[1,0],"clock":[5,6]}',
        JoinerMetadata(2, "e", "i", {"joined": 2}, (1, 0), (5, 6)),
    ),
    # Before a model's size, alerts, and how far the log is read were.
    ('{"v":"1/30","paused":true,"learned":31}', LearnerMetadata("1/30", True, 31)),
    ('{"t":"x","mapped":1}', IntakeMetadata("x", mapped=1)),
]


@pytest.mark.parametrize(("text", "metadata"), FROM_BEFORE)
def test_what_an_older_version_did_not_know_has_its_default(text: str, metadata: OffsetMetadata) -> None:
    assert type(metadata).decode(text) == metadata


def _as_before(text: str) -> dict[str, Any]:
    """Return what the readers of the version before took from a text: a dictionary, and the joiner's struct."""

    class JoinPlace(msgspec.Struct):
        seq: int
        epoch: str
        ids: str
        counts: dict[str, int]
        waiting: tuple[int, int] = (0, 0)
        clock: tuple[int, int] = (0, 0)
        examined: int = 0
        oldest: int = 0
        each: tuple[str, str] = ("", "")
        begin: tuple[int, int] = (0, 0)
        spread: int = 0

    if '"epoch"' in text:
        return msgspec.structs.asdict(msgspec.json.decode(text, type=JoinPlace))
    told = json.loads(text)
    assert isinstance(told, dict)
    return told


@pytest.mark.parametrize(("text", "metadata"), OF_TODAY)
def test_an_older_process_reads_what_is_written_now(text: str, metadata: OffsetMetadata) -> None:
    assert _as_before(metadata.encode()) == _as_before(text)


@pytest.mark.parametrize("text", ["", "moved by hand", "[]", "7", "null", '{"t":5,"v":7,"seq":"x"}', "{"])
@pytest.mark.parametrize("role", COMMITTING)
def test_what_another_tool_has_written_is_none_of_a_roles(role: str, text: str) -> None:
    assert read(role, text) is None


def test_a_learner_takes_what_is_none_of_its_own_for_nothing() -> None:
    assert LearnerMetadata.beside(None) == LearnerMetadata.beside(CommittedOffset(5, "by hand")) == LearnerMetadata()
    assert LearnerMetadata.beside(CommittedOffset(5, LEARNING)).read == 1300


def test_a_joiners_text_without_its_lane_is_none() -> None:
    assert JoinerMetadata.decode('{"counts":{},"spread":3}') is None


def test_what_kafka_would_not_take_is_refused_where_it_is_written() -> None:
    room = 4095 - len(LearnerMetadata(alerts=[""]).encode())
    assert len(LearnerMetadata(alerts=["a" * room]).encode()) == 4095
    with pytest.raises(MetadataTooLong, match=r"the learner writes .* has 4096 characters, and Kafka takes 4095"):
        LearnerMetadata(alerts=["a" * (room + 1)]).encode()


def test_the_limit_is_in_characters_as_the_brokers_is() -> None:
    assert len(LearnerMetadata(alerts=["ä" * 3000]).encode().encode()) > 4096


def test_a_local_store_of_the_version_before_is_read() -> None:
    written = msgspec.msgpack.encode(
        {"group": "g", "epoch": "e-1", "offsets": [7, 8], "state": {}, "place": json.loads(JOINING)}
    )
    joining = JoinerMetadata.decode(JOINING)
    assert joining is not None
    assert read_local(written) == LocalPlace("g", "e-1", (7, 8), JoinState(), joining)


def test_a_role_that_has_nothing_to_say_has_metadata_of_its_own_kind() -> None:
    assert kind_of("auditor") is OffsetMetadata
    assert read("auditor", '{"later": 1}') == OffsetMetadata()
    assert {kind_of(role).role for role in COMMITTING} == {*COMMITTING}
