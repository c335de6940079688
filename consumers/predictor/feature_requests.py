"""Requests on the features topic: decodes and checks each event, and writes it into the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from runtime.exits import Doubt, RoleRefused
from runtime.kafka_client import size_limits
from runtime.kafka_client.records import Record
from schemas import codec
from schemas.codec import HEADER_BYTES, CodecError
from schemas.contract import Contract, ContractError, without_any_value, without_values
from schemas.events import Event, Features, read_event
from schemas.preparing import Prepare, of_event
from schemas.schema_registry import RegistryError
from schemas.sources.event_mapping import EventMapping
from schemas.sources.message_fields import Unmapped, place_id

FAR_FUTURE_MS: Final = 24 * 3600 * 1000
LONGEST_ID: Final = 1024
_MOST_TO_READ: Final = 4 * size_limits.EVENT  # JSON may be larger than the Avro made from it
_EVENT_HEADER: Final = codec.EVENT.header


class Unanswerable(Exception):  # noqa: N818
    """The event is answered with an error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Question(NamedTuple):
    """A decoded request: `used` are the features for the model, `None` if the event gets an error instead."""

    event: Event | None
    used: Features | None
    failure: tuple[str, str] | None


class Questions:
    """Decodes records into events that satisfy the contract.

    Parameters
    ----------
    mapping
        Maps messages of an external topic; `None` for Millstream's own events.
    clock
        Wall clock, ms.
    prepare
        The stream's function that computes the features from those that were sent.
    """

    def __init__(
        self,
        contract: Contract,
        mapping: EventMapping | None,
        clock: Callable[[], int],
        prepare: Prepare | None = None,
    ) -> None:
        self._contract = contract
        self._prepare = prepare
        self._mapping = mapping
        self._clock = clock

    def read(self, records: Sequence[Record]) -> Sequence[Question]:
        """Return the requests in several records."""
        return [self.ask(record) for record in records]

    def ask(self, record: Record) -> Question:
        """Return a record's request; every record gives one, whatever its content."""
        event: Event | None = None
        try:
            event = self._read(record)
            if self._mapping is None:
                _check_time(event, record.timestamp)
            else:
                # Records of external topics may have a time that the broker did not set, or none.
                _check_time(event, self._clock())
            return Question(event, of_event(self._contract, self._prepare, event.features, event.event_time), None)
        except ContractError as error:
            return Question(event, None, (error.code, str(error)))
        except Unanswerable as error:
            return Question(event, None, (error.code, self._told(error)))
        except Unmapped as error:
            return Question(_with_fit_id(error.event), None, (error.code, self._told(error)))
        except CodecError as error:
            return Question(event, None, ("codec", self._told(error)))

    def _told(self, error: Exception) -> str:
        """Return why a message was refused; the message may hold private features anywhere."""
        return without_any_value(str(error)) if self._contract.private else str(error)

    def hidden(self, reason: str, features: Features | None) -> str:
        """Return the reason why a model did not answer, without the values of private features."""
        private = self._contract.private
        return without_values(reason, features or {}, private) if private else reason

    @property
    def has_private(self) -> bool:
        """Return whether values of some features are not shown."""
        return bool(self._contract.private)

    def check(self, event: Event) -> Question:
        """Return the request of an event that did not come from a topic."""
        try:
            _check_id(event)
            _check_time(event, self._clock())
            return Question(event, of_event(self._contract, self._prepare, event.features, event.event_time), None)
        except (Unanswerable, ContractError) as error:
            return Question(event, None, (error.code, str(error)))

    def _read(self, record: Record) -> Event:
        value = record.value
        if not value:
            raise Unanswerable("codec", "the event is empty")
        if len(value) > _MOST_TO_READ:
            raise Unanswerable("size", f"the event has {len(value)} bytes; at most {_MOST_TO_READ} are read")
        if self._mapping is not None:
            event = self._mapped(self._mapping, record)
        else:
            try:
                event = read_event(value, default_time=record.timestamp)
            except CodecError as error:
                raise Unanswerable("codec", str(error)) from error
        _check_id(event)
        return event

    def _mapped(self, mapping: EventMapping, record: Record) -> Event:
        """Map an external message; if the registry does not answer, the message is read again later."""
        try:
            return mapping.event(record)
        except RegistryError as error:
            raise (Doubt if error.passing else RoleRefused)(str(error)) from error

    def unnamed(self, record: Record) -> Event:
        """Return an event without features for a record whose id cannot be read.

        The id is the record's key, which holds the event's id on Millstream's own topics; else topic, partition and
        offset.
        """
        key = record.key if self._mapping is None else None
        text = ""
        if key:
            try:
                text = key.decode()
            except UnicodeDecodeError:
                text = ""
        event_id = text if 0 < len(text) <= LONGEST_ID else place_id(record)
        return Event(event_id, max(record.timestamp, 0), {})

    def body(self, record: Record, event: Event, used: Features) -> bytes:
        """Return the bytes of the event's fields: the sender's own bytes if nothing in them had to change.

        Raises
        ------
        CodecError, Unanswerable
            If the fields cannot be encoded, or are too large.
        """
        value = record.value
        if self._mapping is None and used is event.features and value is not None and value.startswith(_EVENT_HEADER):
            return _fitting(value[HEADER_BYTES:])
        if used is not event.features:
            event = Event(event.event_id, event.event_time, used, event.entity_key)
        return _fitting(event.encode_body())

    def failed_body(self, record: Record, event: Event) -> bytes:
        """Return the event of an error answer; without its features if they cannot be encoded."""
        try:
            return self.body(record, event, event.features)
        except (CodecError, Unanswerable):
            return Event(event.event_id, max(record.timestamp, 0), {}).encode_body()


def _with_fit_id(event: Event | None) -> Event | None:
    return event if event is not None and 0 < len(event.event_id) <= LONGEST_ID else None


def _check_id(event: Event) -> None:
    if not 0 < len(event.event_id) <= LONGEST_ID:
        length = len(event.event_id)
        raise Unanswerable("id", f"the event id has {length} characters; 1 to {LONGEST_ID} are taken")


def _check_time(event: Event, now: int) -> None:
    if event.event_time < 0 or event.event_time > now + FAR_FUTURE_MS:
        raise Unanswerable("time", f"event_time {event.event_time} is negative, or over a day in the future")


def _fitting(body: bytes) -> bytes:
    """Return the body, or raise Unanswerable if it is too large for the later records that contain it."""
    if len(body) > size_limits.EVENT:
        raise Unanswerable("size", f"the event has {len(body)} bytes; at most {size_limits.EVENT} are taken")
    return body
