"""Source of events or labels: an external topic, and the paths of the values in its messages."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from schemas.events import LabelValue, Scalar
from schemas.exact_integers import NotExact, long_of
from schemas.sources.paths import InvalidPath, parts

if TYPE_CHECKING:
    from schemas.contract import Feature, FeatureType

Format = Literal["auto", "json", "avro", "registry"]
LabelSource = Literal["system", "human", "import"]
Prepare: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]
ValueOf: TypeAlias = str | Callable[[Mapping[str, Any]], LabelValue | None]
TOPIC: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_FORMATS: Final = ("auto", "json", "avro", "registry")
_SOURCES: Final = ("system", "human", "import")


class InvalidSource(ValueError):  # noqa: N818
    """A source is invalid; the message names the argument and its valid values."""


@dataclass(frozen=True)
class Constant:
    """A feature with the same value for every event of a source.

    >>> Source(topic="payments", fields={"amount": "payment.amount", "channel": Constant("web")}).fields["channel"]
    Constant(value='web')
    """

    value: Scalar


@dataclass(frozen=True, kw_only=True)
class Source:
    """An external topic, and the mapping of its messages.

    Paths name a value in a message: ``amount``, ``payment.card.country``, ``items[0].price``; a name with a dot in it
    is written in backticks.

    Parameters
    ----------
    topic
        The topic's full name. It gets no prefix, and Millstream never creates, changes or deletes the topic.
    format
        ``json``, ``avro`` (single objects; with `schema` also bare Avro), ``registry`` (framed by a schema registry),
        or ``auto``: recognised for each message.
    schema
        The Avro schema (a file's path, or the schema itself) of messages without a registry's id.
    id
        Path of the event's id, or several paths, joined by ``:``. Without one, the id is ``topic-partition-offset``.
    time
        Path of the time: ms since 1970, ISO 8601, or an Avro timestamp. Without one, it is the message's broker time.
    fields
        Paths of the features by name, or a `Constant`. Without it, every value of the message is a feature under its
        path, except those of `id` and `time`.
    prepare
        A function of the decoded message that the predictor calls. It returns the features by name, or `None` for a
        message that must be answered with an error. It must not keep state, because a backfill calls it again.
    contract
        The feature contract, like `Stream.features` without a source.
    start
        Start of a group that has never read the topic: its ``beginning`` or its ``end``.
    value
        For labels: a path, a comparison such as ``status == 'fraud'`` (with ``!= < <= > >= in not and or``), or a
        function of the decoded message. A value of `None` means no label yet, and is counted.
    weight
        For labels: the path of a weight.
    source
        For labels: the name of their origin.
    wins
        For labels: true if this source's labels take precedence over those of sources without it, whichever come first.

    Raises
    ------
    InvalidSource
        If an argument is invalid.
    """

    topic: str
    format: Format = "auto"
    schema: str | Path | Mapping[str, Any] | None = None
    id: str | Sequence[str] | None = None
    time: str | None = None
    fields: Mapping[str, str | Constant] = field(default_factory=dict)
    prepare: Prepare | None = None
    contract: Mapping[str, Feature | FeatureType] = field(default_factory=dict)
    start: Literal["beginning", "end"] = "beginning"
    value: ValueOf | None = None
    weight: str | None = None
    source: LabelSource = "system"
    wins: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.topic, str) or not TOPIC.fullmatch(self.topic) or self.topic in (".", ".."):
            raise InvalidSource(
                f"Source: topic={self.topic!r} is no topic's name (1 to 249 of a-z, A-Z, 0-9, '.', '_', '-')"
            )
        for name, allowed in (("format", _FORMATS), ("source", _SOURCES), ("start", ("beginning", "end"))):
            if getattr(self, name) not in allowed:
                raise InvalidSource(f"Source: {name}={getattr(self, name)!r} must be one of {', '.join(allowed)}")
        if self.fields and self.prepare is not None:
            raise InvalidSource("Source: fields= and prepare= both say what the features are; give one of them")
        if self.prepare is not None and not callable(self.prepare):
            raise InvalidSource(f"Source: prepare={self.prepare!r:.60} must be a function of the decoded message")
        for name, each in self.fields.items():
            if isinstance(each, Constant) and type(each.value) is int:
                try:
                    long_of(each.value, f"Source: fields[{name!r}]")
                except NotExact as error:
                    raise InvalidSource(str(error)) from error
        self._check_paths()

    def _check_paths(self) -> None:
        named = [("id", each) for each in self.ids]
        named += [(name, each) for name, each in (("time", self.time), ("weight", self.weight)) if each is not None]
        named += [(f"fields[{name!r}]", each) for name, each in self.fields.items() if not isinstance(each, Constant)]
        for where, text in named:
            try:
                parts(text)
            except InvalidPath as error:
                raise InvalidSource(f"Source: {where}: {error}") from error

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the paths of the id; empty if ids are topic, partition and offset."""
        if self.id is None:
            return ()
        return (self.id,) if isinstance(self.id, str) else tuple(self.id)
