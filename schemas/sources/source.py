"""Topics of somebody else's: where events and labels come from, and what in a message is what."""

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
    """A source cannot work as it is written; the message names the argument and what it may be."""


@dataclass(frozen=True)
class Constant:
    """A feature that is the same for every event of a source.

    >>> Source(topic="payments", fields={"amount": "payment.amount", "channel": Constant("web")}).fields["channel"]
    Constant(value='web')
    """

    value: Scalar


@dataclass(frozen=True, kw_only=True)
class Source:
    """A topic of somebody else's, and how its messages are read.

    Paths name a place in a message: ``amount``, ``payment.card.country``, ``items[0].price``; a name that itself
    holds a dot is put in backticks.

    Parameters
    ----------
    topic
        Its full name; no prefix is put before it, and Millstream neither creates, changes nor deletes it.
    format
        ``json``, ``avro`` (single objects; with `schema` also bare Avro), ``registry`` (framed by a schema registry),
        or ``auto``: told apart message by message.
    schema
        The Avro schema (a file's path, or the schema itself) of messages that do not come with a registry's id.
    id
        Path, or several that are joined by ``:``. Without one, an event is named ``topic-partition-offset``.
    time
        Path of a time: ms since 1970, ISO 8601, or an Avro timestamp. Without one, the broker's time of the message.
    fields
        Features by name: a path, or a `Constant`. Without it, every value of the message is a feature under its path,
        but those that `id` and `time` name.
    prepare
        A function of the decoded message, run in the predictor; returns the features by name, or `None` for a message
        that is to have an error for an answer. It must not keep state: it is run again in a backfill.
    contract
        As `Stream.features` without a source: what features may be.
    start
        Where a group that has never read the topic begins: its ``beginning`` or its ``end``.
    value
        Of labels: a path, a comparison such as ``status == 'fraud'`` (with ``!= < <= > >= in not and or``), or a
        function of the decoded message; what is `None` is no label yet, and counted.
    weight
        Of labels: the path of a weight.
    source
        Of labels: who says so.
    wins
        Of labels: this source's word stands against that of a source without it, whichever comes first.

    Raises
    ------
    InvalidSource
        Where an argument is not as above.
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
        """The paths that make up the id; none where messages are named by their place."""
        if self.id is None:
            return ()
        return (self.id,) if isinstance(self.id, str) else tuple(self.id)
