"""From a message of somebody else's to an event: paths, ids, times, features, and what is said where they fail."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import CodecError
from schemas.events import Event, read_event
from schemas.sources.event_mapping import EventMapping
from schemas.sources.message_fields import Unmapped, milliseconds
from schemas.sources.paths import MISSING, InvalidPath, parts, path
from schemas.sources.source import Constant, InvalidSource, Source

NOW = 1_700_000_000_000


class Sent(NamedTuple):
    value: bytes | None
    key: bytes | None = b"customer-7"
    headers: tuple[tuple[str, bytes], ...] = ()
    topic: str = "payments"
    partition: int = 3
    offset: int = 41
    timestamp: int = NOW


def decode(data: bytes, headers: Any) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise CodecError(f"not JSON: {error}") from error


def mapped(message: Any, **source: Any) -> Event:
    """Return the event that a message, given as plain values, is to a source."""
    found: Mapping[str, Any] = {"topic": "payments", **source}
    return EventMapping(Source(**found), lambda data, headers: message).event(Sent(b"x"))


def refused(message: Any, **source: Any) -> Unmapped:
    with pytest.raises(Unmapped) as caught:
        mapped(message, **source)
    return caught.value


# --- paths -------------------------------------------------------------------------------------------

MESSAGE = {"a": {"b": [{"c": 1}, {"c": 2}], "x.y": 3, "n": None}, "k": 4, "ключ": 5, "with space": 6}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("k", 4),
        ("a.b[0].c", 1),
        ("a.b[-1].c", 2),
        ("a.`x.y`", 3),
        ("a.n", None),
        ("ключ", 5),
        ("with space", 6),
        ("a.n.deeper", MISSING),
        ("a.b[2].c", MISSING),
        ("a.b[-3]", MISSING),
        ("a.b.c", MISSING),
        ("k[0]", MISSING),
        ("nothing", MISSING),
        ("a.x.y", MISSING),
    ],
)
def test_a_path_finds_what_is_there_and_says_where_nothing_is(text: str, value: Any) -> None:
    assert path(text)(MESSAGE) is value or path(text)(MESSAGE) == value


def test_a_path_into_what_is_no_record_finds_nothing() -> None:
    for message in ("text", 3, None, [1], b"bytes"):
        assert path("a")(message) is MISSING
        assert path("a.b")(message) is MISSING
    assert path("[1]")([1, 2]) == 2
    assert path("[0]")("text") is MISSING


@pytest.mark.parametrize("text", ["", ".", ".a", "a.", "a..b", "a[", "a[x]", "a[0", "a]", "`a", "a``", "a.[0]", "a`b`"])
def test_what_is_no_path_is_named_with_what_one_is(text: str) -> None:
    with pytest.raises(InvalidPath, match="is no path"):
        parts(text)


@given(st.lists(st.text(st.characters(exclude_characters="`", exclude_categories=["Cs"]), min_size=1), min_size=1))
def test_any_name_can_be_put_in_backticks(names: list[str]) -> None:
    message: Any = "found"
    for name in reversed(names):
        message = {name: message}
    assert path(".".join(f"`{name}`" for name in names))(message) == "found"


# --- features ----------------------------------------------------------------------------------------

PAYMENT = {
    "payment": {"id": "p1", "amount": 12.5, "card": {"country": "DE", "new": True}},
    "at": "2023-11-14T22:13:20.5Z",
    "vector": [1, 2.5],
    "nothing": None,
    "count": 3,
}


def test_without_fields_every_value_is_a_feature_under_its_path_but_id_and_time() -> None:
    event = mapped(PAYMENT, id="payment.id", time="at")
    assert event == Event(
        "p1",
        NOW + 500,
        {
            "payment.amount": 12.5,
            "payment.card.country": "DE",
            "payment.card.new": True,
            "vector": [1.0, 2.5],
            "nothing": None,
            "count": 3,
        },
        "customer-7",
    )


def test_fields_choose_and_name_features_and_one_can_be_the_same_for_all() -> None:
    fields = {
        "amount": "payment.amount",
        "card": "payment.card",
        "first": "vector[0]",
        "absent": "payment.no.such",
        "channel": Constant("web"),
    }
    assert mapped(PAYMENT, fields=fields).features == {
        "channel": "web",
        "amount": 12.5,
        "card.country": "DE",
        "card.new": True,
        "first": 1,
    }


def test_numbers_of_any_make_are_plain_ones() -> None:
    odd = {"d": Decimal("1.25"), "f": Fraction(1, 2), "b": bytearray(b"x"), "v": (1, Decimal(2))}
    assert mapped(odd).features == {"d": 1.25, "f": 0.5, "b": b"x", "v": [1.0, 2.0]}


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"items": [{"price": 1}]}, r"items\[0\] is a record: a list is a vector, of numbers only"),
        ({"a": {"tags": ["x", "y"]}}, r"a.tags\[0\] is 'x'"),
        ({"v": [1, None]}, r"v\[1\] is null"),
        ({"v": [True]}, r"v\[0\] is True"),
        ({"v": [[1]]}, r"v\[0\] is a list of 1"),
        ({"v": [10**400]}, r"v\[0\] is a whole number of 1329 bits, which is no number in 64 bits"),
        ({"n": 2**63}, "n is 9223372036854775808, beyond 64 bits"),
        ({"n": 10**5000}, "n is a whole number of 16610 bits, beyond 64 bits"),
        ({"d": datetime(2024, 1, 1, tzinfo=UTC)}, "d is a datetime, which no feature can be"),
        ({"a.b": 1, "a": {"b": 2}}, "a.b is there twice"),
        ({3: 1}, "3 is no text"),
    ],
)
def test_what_no_feature_can_be_is_named_by_its_path(message: Any, says: str) -> None:
    error = refused(message)
    assert error.code == "path"
    with pytest.raises(Unmapped, match=says):
        raise error


def test_records_in_records_without_end_are_refused() -> None:
    message: dict[str, Any] = {}
    inner = message
    for _ in range(100_000):
        inner["a"] = {}
        inner = inner["a"]
    assert "over 32 deep" in str(refused(message))


@pytest.mark.parametrize("message", [[1], "text", None, 3.5])
def test_a_message_that_is_no_record_has_no_names_for_features(message: Any) -> None:
    assert refused(message).code == "codec"


def test_what_cannot_be_decoded_is_said_with_the_reason() -> None:
    with pytest.raises(Unmapped, match="not JSON") as caught:
        EventMapping(Source(topic="payments"), decode).event(Sent(b"{"))
    assert (caught.value.code, caught.value.event) == ("codec", None)


# --- prepare -----------------------------------------------------------------------------------------


def test_prepare_makes_the_features_of_the_message() -> None:
    def prepare(message: Mapping[str, Any]) -> Mapping[str, Any]:
        payment = message["payment"]
        return {"log_amount": math.log1p(payment["amount"]), "card": payment["card"]}

    event = mapped(PAYMENT, id="payment.id", prepare=prepare)
    assert event.features == {"log_amount": math.log1p(12.5), "card.country": "DE", "card.new": True}


def test_an_error_of_prepare_keeps_the_id_and_the_time_of_the_event() -> None:
    error = refused(PAYMENT, id="payment.id", time="at", prepare=lambda message: message["no"])
    assert (error.code, str(error)) == ("prepare", "prepare= raised KeyError: 'no'")
    assert error.event == Event("p1", NOW + 500, {}, "customer-7")


@pytest.mark.parametrize("returned", [None, [1], 3])
def test_prepare_that_returns_no_features_is_an_error(returned: Any) -> None:
    error = refused(PAYMENT, prepare=lambda message: returned)
    assert error.code == "prepare"
    assert "not features by name" in str(error)


# --- ids, times, keys --------------------------------------------------------------------------------


def test_without_an_id_an_event_is_named_by_its_place() -> None:
    assert mapped(PAYMENT).event_id == "payments-3-41"


@pytest.mark.parametrize(
    ("value", "event_id"),
    [("x", "x"), (17, "17"), (17.0, "17"), (b"\x01\xff", "01ff"), (2**127, str(2**127))],
)
def test_text_and_whole_numbers_are_ids(value: Any, event_id: str) -> None:
    assert mapped({"i": value}, id="i").event_id == event_id
    assert mapped({"i": value, "j": {"k": "b"}}, id=("i", "j.k")).event_id == f"{event_id}:b"


@pytest.mark.parametrize("value", ["", b"", None, True, 1.5, {}, [], pytest.param(10**5000, id="long"), "\ud800"])
def test_what_is_no_id_is_an_error_that_says_what_it_is(value: Any) -> None:
    error = refused({"i": value}, id="i")
    assert (error.code, error.event) == ("id", None)
    assert "the id" in str(error)
    assert refused({"j": "a"}, id=("j", "i")).code == "id"


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (NOW, NOW),
        (float(NOW), NOW),
        (str(NOW), NOW),
        ("2023-11-14T22:13:20Z", NOW),
        ("2023-11-14T23:13:20+01:00", NOW),
        ("2023-11-14 22:13:20", NOW),
        ("20231114T221320Z", NOW),
        ("2023-11-14", 1_699_920_000_000),
        (datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), NOW),
        ("1969-12-31T23:59:59.999Z", -1),
    ],
)
def test_times_are_ms_or_iso_8601(value: Any, ms: int) -> None:
    assert milliseconds(value, "the time") == ms


@pytest.mark.parametrize("value", [None, MISSING, True, "soon", "", math.nan, math.inf, {}, [], b"1", 10**30, "9" * 40])
def test_what_is_no_time_is_an_error_and_the_event_keeps_its_id(value: Any) -> None:
    error = refused({"t": value, "i": "x"} if value is not MISSING else {"i": "x"}, id="i", time="t")
    assert error.code == "time"
    assert error.event == Event("x", NOW, {}, "customer-7")


@pytest.mark.parametrize(
    ("key", "entity"),
    [(b"c", "c"), (None, None), (b"", None), (b"\xff\xfe", None), (b"\0\0\0\x05", None), (b"k" * 1025, None)],
)
def test_the_entity_is_the_key_where_it_is_text(key: bytes | None, entity: str | None) -> None:
    event = EventMapping(Source(topic="payments"), decode).event(Sent(b"{}", key=key))
    assert event.entity_key == entity


def test_the_id_and_the_time_of_a_cloud_event_are_in_its_headers_unless_the_source_names_others() -> None:
    headers = (("ce_id", b"c1"), ("ce_time", b"2023-11-14T22:13:21Z"))
    sent = Sent(b'{"i": "mine", "t": 5}', headers=headers)
    event = EventMapping(Source(topic="payments"), decode).event(sent)
    assert (event.event_id, event.event_time) == ("c1", NOW + 1000)
    event = EventMapping(Source(topic="payments", id="i", time="t"), decode).event(sent)
    assert (event.event_id, event.event_time) == ("mine", 5)


def test_a_time_in_a_header_that_is_none_is_an_error() -> None:
    with pytest.raises(Unmapped, match="the time in the header ce_time is 'soon'"):
        EventMapping(Source(topic="payments"), decode).event(Sent(b"{}", headers=(("ce_time", b"soon"),)))


# --- what a source may say ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"id": "a..b"}, r"id: 'a\.\.b' is no path"),
        ({"id": ("a", "")}, "id: '' is no path"),
        ({"time": "[x]"}, "time: "),
        ({"fields": {"a": "b."}}, r"fields\['a'\]: 'b\.' is no path"),
        ({"fields": {"a": 3}}, r"fields\['a'\]: 3 is no path"),
        ({"prepare": "twice"}, "prepare='twice' must be a function"),
        ({"fields": {"a": "b"}, "prepare": dict}, "give one of them"),
    ],
)
def test_a_source_that_cannot_work_is_refused_when_it_is_written(given: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidSource, match=says):
        Source(topic="payments", **given)


_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXT | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(_TEXT, inner),
    max_leaves=20,
)


@given(_VALUES)
def test_whatever_a_message_holds_it_is_an_event_that_can_be_written_or_refused(message: Any) -> None:
    try:
        event = mapped(message)
    except Unmapped as error:
        assert error.code in ("codec", "path")  # noqa: PT017 - either outcome is right
        return
    assert read_event(event.encode()).features.keys() == event.features.keys()
