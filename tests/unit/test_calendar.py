"""Calendar features: exact over changes of the clock, part of the contract, never sent and computed at once."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from river import linear_model

from consumers.model.outlier_bounds import Guard
from consumers.model.river_model import wrap
from consumers.model.version_runtime import RunWith
from consumers.predictor.feature_requests import Questions
from millstream import Calendar, InvalidStream, Source, Stream, Validation
from millstream.check.check import check
from millstream.stream.load import load_stream
from millstream.version_code.contract_changes import calendar_added, misfit, names_seen
from producers.file_formats import open_source
from producers.rows import SourceError, SourceSpec
from schemas.calendar import PARTS, CalendarFeatures, OutsideCalendar
from schemas.contract import Contract, ContractError, Feature
from schemas.events import Event

ZONES = (
    "Europe/Berlin",
    "Asia/Kathmandu",  # 5:45 h from UTC
    "Australia/Lord_Howe",  # its clock changes by half an hour
    "Africa/Monrovia",  # 44 min 30 s from UTC until 1972
    "Europe/Amsterdam",  # 19 min 32 s from UTC until 1937
    "America/St_Johns",  # changed its clock at a minute past midnight
    "Pacific/Apia",  # had no 30 December 2011
)
BERLIN = CalendarFeatures(parts=("hour", "weekday"), tz="Europe/Berlin")


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def stream(**given: object) -> Stream:
    return Stream(name="a", task="binary", model=linear_model.LogisticRegression, **given)  # type: ignore[arg-type]


def contract(**given: object) -> Contract:
    return Contract(calendar=BERLIN, **given)  # type: ignore[arg-type]


def test_hours_over_a_change_of_the_clock() -> None:
    hours = [BERLIN.at(ms(f"2026-03-29 00:{minute}"))["hour"] for minute in ("00", "59")]
    hours += [BERLIN.at(ms(f"2026-03-29 01:{minute}"))["hour"] for minute in ("00", "59")]
    assert hours == [1, 1, 3, 3]
    hours = [BERLIN.at(ms(f"2026-10-25 {hour}:30"))["hour"] for hour in ("00", "01", "02")]
    assert hours == [2, 2, 3]


def test_a_weekday_is_that_of_the_zone() -> None:
    late = ms("2026-05-03 22:30")
    assert BERLIN.at(late) == {"hour": 0, "weekday": 0}
    assert CalendarFeatures(parts=("hour", "weekday"), tz="UTC").at(late) == {"hour": 22, "weekday": 6}


@pytest.mark.parametrize("zone", ZONES)
def test_what_is_remembered_is_what_would_be_computed(zone: str) -> None:
    whole = tuple(PARTS)
    rng = random.Random(zone)
    each = CalendarFeatures(parts=whole, tz=zone)
    coarse = CalendarFeatures(parts=tuple(part for part in whole if not part.startswith("minute")), tz=zone)
    info = ZoneInfo(zone)
    for _ in range(300):
        begin = rng.randrange(ms("1900-01-01"), ms("2040-01-01"))
        for time_ms in (begin, begin + rng.randrange(900_000), begin + rng.randrange(60_000), begin):
            when = datetime.fromtimestamp(time_ms // 1000, info)
            assert each.at(time_ms) == {part: PARTS[part].of(when) for part in whole}
            assert coarse.at(time_ms) == {name: each.at(time_ms)[name] for name in coarse.parts}


@pytest.mark.parametrize(
    ("zone", "change"),
    [
        ("Europe/Amsterdam", "1937-06-30 23:40:28"),
        ("America/St_Johns", "2010-03-14 03:31"),
        ("Australia/Lord_Howe", "2026-04-04 15:00"),
        ("Pacific/Apia", "2011-12-30 10:00"),
        ("Africa/Monrovia", "1972-01-07 00:44:30"),
    ],
)
def test_every_second_around_an_odd_change_of_the_clock(zone: str, change: str) -> None:
    features = CalendarFeatures(parts=("hour", "minute", "day"), tz=zone)
    info = ZoneInfo(zone)
    for second in range(-1000, 1000):
        time_ms = ms(change) + second * 1000 + 999
        when = datetime.fromtimestamp(time_ms // 1000, info)
        assert features.at(time_ms) == {"hour": when.hour, "minute": when.minute, "day": when.day}


def test_parts_are_within_their_ranges_and_waves_close() -> None:
    every = CalendarFeatures(parts=tuple(PARTS), tz="UTC")
    declared = Contract(calendar=every).declared
    for day in range(0, 900, 7):
        Contract(features=declared).apply(dict(every.at(ms("2023-12-31 23:59") + day * 86_400_000)))
    last, first = every.at(ms("2024-06-30 23:00")), every.at(ms("2024-07-01 00:00"))
    apart = math.dist((last["hour_sin"], last["hour_cos"]), (first["hour_sin"], first["hour_cos"]))
    assert apart == pytest.approx(2 * math.sin(math.pi / 24))
    assert every.at(ms("2024-07-06"))["weekend"] is True
    assert every.at(ms("2024-07-05"))["weekend"] is False


def test_an_event_gets_them_and_the_log_keeps_them() -> None:
    with_names = contract(features={"x": Feature()}, unknown="refuse")
    for each in (contract(), with_names):
        used = each.of_event({"x": 1.0}, 0)
        assert used == {"x": 1.0, "hour": 1, "weekday": 3}
        assert each.apply(used) == used  # what the learner makes of it
    assert with_names.apply({"x": 1.0}) == {"x": 1.0}  # an example from before there was a calendar


def test_a_sent_feature_of_that_name_is_refused_unless_undeclared_features_are_dropped() -> None:
    for each in (contract(), contract(features={"x": Feature()}, unknown="keep")):
        with pytest.raises(ContractError, match=r"feature 'hour' was sent.*prefix='event_'") as error:
            each.of_event({"x": 1.0, "hour": 7}, 0)
        assert error.value.code == "calendar"
    assert contract(features={"x": Feature()}).of_event({"x": 1.0, "hour": 7}, 0)["hour"] == 1


def test_a_time_without_a_date_is_refused() -> None:
    with pytest.raises(ContractError, match="no date between the years 1 and 9999") as error:
        contract().of_event({}, 2**62)
    assert error.value.code == "time"
    with pytest.raises(OutsideCalendar):
        BERLIN.at(-(2**62))


class Sent(NamedTuple):
    value: bytes
    timestamp: int
    key: bytes | None = None
    topic: str = "a.features"
    partition: int = 0
    offset: int = 0
    headers: tuple[tuple[str, bytes], ...] = ()


def test_a_predictor_computes_them_and_writes_them_into_the_event() -> None:
    event = Event("a", ms("2026-05-04 10:00"), {"x": 1.0})
    record = Sent(event.encode(), event.event_time)
    questions = Questions(contract(), None, lambda: event.event_time)
    asked = questions.ask(record)
    assert asked.used == {"x": 1.0, "hour": 12, "weekday": 0}
    body = questions.body(record, event, asked.used)
    assert body == Event("a", event.event_time, asked.used).encode()[10:]


def test_a_contract_without_a_calendar_keeps_its_hash() -> None:
    assert Contract().fingerprint() == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    prints = {
        each.fingerprint() for each in (Contract(), contract(), Contract(calendar=Calendar("hour", tz="UTC").features))
    }
    assert len(prints) == 3


def test_versions_from_before_the_calendar_are_not_given_its_features() -> None:
    before, now = Contract(), contract()
    assert misfit(now, before) == ""
    assert calendar_added(now, before) == {"hour", "weekday"}
    assert names_seen(contract(features={"x": Feature()})) == {"x", "hour", "weekday"}
    face = RunWith(hides=calendar_added(now, before)).narrowed(wrap(linear_model.LogisticRegression(), "binary"))
    assert face._narrow({"x": 1.0, "hour": 3}) == {"x": 1.0}  # type: ignore[attr-defined]


def test_a_calendar_that_a_version_was_made_with_may_not_change() -> None:
    assert misfit(Contract(), contract()) == "feature 'hour' of the calendar is gone"
    other = Contract(calendar=Calendar("hour", "weekday", tz="Europe/London").features)
    assert misfit(other, contract()) == "the calendar's time zone was Europe/Berlin then, and is Europe/London now"
    more = Contract(calendar=Calendar("hour", "weekday", "month", tz="Europe/Berlin").features)
    assert misfit(more, contract()) == ""


def test_no_month_is_an_outlier() -> None:
    guard = Guard(Contract(calendar=Calendar("month", tz="UTC").features))
    for number in range(2000):
        guard.look({"month": 1, "x": 1.0 + number % 2}, None)
    assert guard.look({"month": 12, "x": 1.0}, None) is None


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Calendar(tz="UTC"), "name at least one part"),
        (lambda: Calendar("hour"), 'name the time zone: tz="Europe/Berlin"'),
        (lambda: Calendar("hours", tz="UTC"), "no part 'hours'; did you mean 'hour'?"),
        (lambda: Calendar("hour", "hour", tz="UTC"), "'hour' is named twice"),
        (lambda: Calendar(3, tz="UTC"), "3 must be a name"),  # type: ignore[arg-type]
        (lambda: Calendar("hour", tz="Berlin"), "no time zone 'Berlin'; did you mean 'Europe/Berlin'?"),
        (lambda: Calendar("hour", tz="../etc/passwd"), "no time zone '../etc/passwd'"),
        (lambda: Calendar("hour", tz=1), "tz=1 must be the name"),  # type: ignore[arg-type]
        (lambda: Calendar("hour", zone="UTC"), "there is no zone=; there are tz="),
        (lambda: Calendar("hour", tz="UTC", prefix=3), "prefix=3 must be a text"),  # type: ignore[arg-type]
        (lambda: stream(calendar="hour"), "calendar='hour' must be Calendar"),
        (lambda: stream(calendar=Calendar("hour", tz="UTC"), features={"hour": "number"}), "features='hour' is sent"),
        (
            lambda: stream(calendar=Calendar("hour", tz="UTC"), features=Source(topic="t", fields={"hour": "at.hour"})),
            "features='hour' is sent, and Calendar",
        ),
    ],
)
def test_a_stream_file_that_cannot_be(make: object, said: str) -> None:
    with pytest.raises(InvalidStream) as error:
        make()  # type: ignore[operator]
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_prefix_gives_them_other_names() -> None:
    made = stream(calendar=Calendar("hour", tz="UTC", prefix="event_"), features={"hour": "number"})
    assert made.contract.of_event({"hour": 7}, 0) == {"hour": 7, "event_hour": 0}
    assert repr(made.calendar) == "Calendar('hour', tz='UTC', prefix='event_')"


def test_a_file_with_a_column_of_that_name_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("x,hour,label\n1,2,true\n")
    with pytest.raises(SourceError, match=r"rows\.csv has a column.*'hour'.*leave one of the two out"):
        list(open_source(str(file), SourceSpec(contract=contract())).rows())
    named = SourceSpec(contract=stream(calendar=Calendar("hour", tz="UTC"), features={"x": "number"}).contract)
    assert len(list(open_source(str(file), named).rows())) == 1  # hour is undeclared, and dropped


FILE = """
from river import compose, linear_model, preprocessing
from millstream import Calendar, Stream

stream = Stream(
    name="tried",
    task="binary",
    model=lambda: (compose.Select("hour", "weekday") | preprocessing.OneHotEncoder())
    + (compose.Select("x") | preprocessing.StandardScaler())
    | linear_model.LogisticRegression(),
    calendar=Calendar("hour", "weekday", tz="Europe/Berlin"),
    {more}
)
"""


@pytest.mark.parametrize("more", ["", "features={'x': 'number'},"])
def test_check_tries_the_model_with_them(tmp_path: Path, more: str) -> None:
    file = tmp_path / f"tried_with_{len(more)}.py"
    file.write_text(FILE.replace("{more}", more))
    report = check(load_stream(str(file)))
    assert report.errors == ()
    rows = tmp_path / "rows.csv"
    rows.write_text("x,at,label\n" + "".join(f"{n % 7},2026-03-29T0{n % 3}:30:00Z,{n % 2 == 0}\n" for n in range(200)))
    warnings = [each.text for each in check(load_stream(str(file)), place=str(rows)).findings if each.severity != "ok"]
    assert any("name their column with time=" in each for each in warnings), warnings


def test_validation_still_counts_them() -> None:
    made = stream(calendar=Calendar("hour", "minute", tz="UTC"), validation=Validation(max_features=2))
    with pytest.raises(ContractError, match="3 features; at most 2"):
        made.contract.of_event({"x": 1.0}, 0)
