"""The feature contract: names, types and ranges of the features that an event may have."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, Literal, TypeAlias

import msgspec

from schemas.calendar import PARTS, CalendarFeatures, OutsideCalendar
from schemas.events import Features, FeatureValue

FeatureType = Literal["number", "integer", "boolean", "string", "bytes", "vector"]
Missing = Literal["drop", "none", "refuse"]
Bounds = Literal["off", "warn", "dead-letter"]
Range: TypeAlias = tuple[float, float]

MASK: Final = "(private)"
"""Shown in place of a private feature's value."""
_TOLD: Final = re.compile(r"( (?:is(?! malformed\b| there twice\b)|holds|returned) |raised \w+: )(.*)", re.DOTALL)
"""What follows may hold a value; that JSON is malformed, or a name there twice, holds none."""

_TYPES: Final[dict[str, tuple[type, ...]]] = {
    # bool is an int in Python but a boolean in Avro, so it is refused as a number.
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "string": (str,),
    "bytes": (bytes,),
    "vector": (list,),
}


class ContractError(ValueError):
    """The features of one event break the contract.

    Attributes
    ----------
    code
        A short word for counting: ``type``, ``range``, ``category``, ``missing``, ``unknown``,
        ``infinite``, ``size``, ``calendar``, ``time``.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Feature(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Declaration of one feature.

    Parameters
    ----------
    type
        ``number``, ``integer``, ``boolean``, ``string``, ``bytes`` or ``vector`` (a list of numbers).
    minimum, maximum
        Limits of a number; an event with a number outside is refused.
    categories
        All allowed values; an event with another value is refused.
    required
        True if an event without the feature is refused.
    missing
        As `missing` of `Validation`, for this feature.
    bounds
        As `bounds` of `Validation`, for this feature.
    private
        True if only hashes and counts of its values are shown; the topics of events hold it (docs/monitoring.md).

    >>> Feature(type="string", categories=("a", "b")).categories
    ('a', 'b')
    """

    type: FeatureType = "number"
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str | int | bool, ...] | None = None
    required: bool = False
    missing: Missing | None = None
    bounds: Bounds | None = None
    private: bool = False


class Contract(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """Declaration of a stream's features. Without any named features, every finite typed value is accepted.

    Parameters
    ----------
    features
        The declared features, by name.
    unknown
        Treatment of undeclared features, if some are declared: ``drop`` them, ``keep`` them, or ``refuse`` the event.
    missing
        Treatment of null and NaN, unless the feature declares its own: ``drop`` the feature from the event, pass
        ``none`` to the model, or ``refuse`` the event.
    bounds
        The learner's treatment of a number far outside the earlier values of its feature, unless the feature declares
        its own: nothing (``off``), ``warn`` and learn it if that does not ruin the model, or ``dead-letter``.
    max_features, max_name_chars, max_value_bytes
        Limits of one event; dropped features do not count.
    calendar
        Features that the predictor adds from the event's time; senders do not send them.
    sees
        Of one model: names of the features that it is given; the others are left out before anything else.
    """

    features: dict[str, Feature] = {}
    unknown: Literal["keep", "drop", "refuse"] = "drop"
    missing: Missing = "drop"
    bounds: Bounds = "warn"
    max_features: int = 1000
    max_name_chars: int = 255
    max_value_bytes: int = 1 << 20
    calendar: CalendarFeatures | None = None
    sees: tuple[str, ...] | None = None

    def narrowed(self, sees: Iterable[str]) -> Contract:
        """Return the contract of a model that is given only these features. Others may change without changing it.

        >>> Contract(features={"a": Feature(), "b": Feature()}).narrowed(["a"]).apply({"a": 1.0, "b": 2.0})
        {'a': 1.0}
        """
        names = frozenset(sees)
        calendar = self.calendar
        parts = () if calendar is None else tuple(part for name, part in calendar.names.items() if name in names)
        return msgspec.structs.replace(
            self,
            features={name: feature for name, feature in self.features.items() if name in names},
            calendar=None if calendar is None or not parts else msgspec.structs.replace(calendar, parts=parts),
            sees=tuple(sorted(names)),
        )

    @cached_property
    def declared(self) -> dict[str, Feature]:
        """Return all declared features, those of the calendar among them."""
        return self.features if self.calendar is None else self.features | _calendar_features(self.calendar)

    @property
    def is_open(self) -> bool:
        """True if every finite typed value is accepted and passed on, under any name."""
        return not self.features and self.sees is None

    def fingerprint(self) -> str:
        """Return a hash that is equal only for equal contracts."""
        # msgspec omits a default by identity, and two objects 1000 need not be identical.
        said = {
            name: value
            for name, value in msgspec.to_builtins(self).items()
            if getattr(_DEFAULT, name) != getattr(self, name)
        }
        for feature in said.get("features", {}).values():  # no model depends on `private`
            feature.pop("private", None)
        return hashlib.sha256(msgspec.json.encode(said, order="sorted")).hexdigest()

    @cached_property
    def private(self) -> frozenset[str]:
        """Return the names of the features whose values are not shown."""
        return frozenset(name for name, feature in self.features.items() if feature.private)

    def of_event(self, features: Features, event_time: int) -> Features:
        """Return the features of an event as sent, with those of the calendar, for the model.

        Parameters
        ----------
        event_time
            ms since 1970, UTC.

        Raises
        ------
        ContractError
            If the event must be refused.
        """
        calendar = self.calendar
        if calendar is None:
            return self.apply(features)
        try:
            computed = calendar.at(event_time)
        except OutsideCalendar as error:
            raise ContractError("time", str(error)) from error
        if not computed.keys().isdisjoint(features) and not self._drops_undeclared:
            name = next(name for name in computed if name in features)
            raise ContractError("calendar", f"feature {name!r} was sent, and {clash(calendar, name)}")
        return self.apply({**features, **computed})

    @property
    def _drops_undeclared(self) -> bool:
        return bool(self.features) and self.unknown == "drop"

    def clashing(self, names: Iterable[str]) -> Iterator[str]:
        """Yield, for each of the names under which no feature may be sent, the reason."""
        if self.calendar is not None and not self._drops_undeclared:
            yield from (clash(self.calendar, name) for name in names if name in self.calendar.names)

    def apply(self, features: Features) -> Features:
        """Return the features for the model; the same object if nothing had to change.

        They are those of a log, which has the calendar's features as served, or `of_event` has added them.

        Raises
        ------
        ContractError
            If the event must be refused.
        """
        if self.sees is not None:
            features = {name: value for name, value in features.items() if name in self.sees}
        if not self.features and _is_plain(features, self.max_name_chars):
            self._check_count(features)
            return features
        used: Features = {}
        for name, value in features.items():
            self._take(name, value, used)
        for name, feature in self.declared.items():
            if name not in features:
                self._absent(name, feature, used)
        self._check_count(used)
        return used

    def ranges(self, names: Sequence[str]) -> list[Range | None] | None:
        """Return what `of_event` does with any event that has features of these names, in this order, all doubles.

        If each finite double of the event is within its feature's range, both ends included, exactly the features with
        a range are kept, unchanged and in their order. A feature without one is dropped, whatever its value. If that
        cannot be said of such events, the result is `None`.

        >>> Contract(features={"a": Feature(minimum=0)}).ranges(["a", "b"])
        [(0, inf), None]
        """
        if self.calendar is not None or any(_counts(self, name) for name in self.features.keys() - names):
            return None
        found: list[Range | None] = []
        for name in names:
            feature = self.features.get(name)
            if feature is None and self._drops_undeclared:
                found.append(None)
                continue
            if len(name) > self.max_name_chars or (feature is None and self.features and self.unknown == "refuse"):
                return None
            if feature is not None and (feature.type != "number" or feature.categories is not None):
                return None
            low, high = (None, None) if feature is None else (feature.minimum, feature.maximum)
            found.append((-math.inf if low is None else low, math.inf if high is None else high))
        kept = len(found) - found.count(None)
        return found if 0 < kept <= self.max_features else None

    def _check_count(self, kept: Features) -> None:
        if len(kept) > self.max_features:
            raise ContractError(
                "size",
                f"{len(kept)} features; at most {self.max_features} are taken: name in features= those that the model "
                "needs, or set Validation(max_features=…)",
            )

    def _take(self, name: str, value: FeatureValue, used: Features) -> None:
        feature = self.declared.get(name)
        if feature is None and self.features and self.unknown == "drop":
            return
        if len(name) > self.max_name_chars:
            start = name[:40]
            raise ContractError(
                "size", f"feature name {start!r}… has {len(name)} characters; at most {self.max_name_chars}"
            )
        if feature is None and self.features and self.unknown == "refuse":
            raise ContractError("unknown", f"feature {name!r} is not in the contract")
        if value is None or (isinstance(value, float) and math.isnan(value)):
            self._missing(name, feature, used)
            return
        self._check_bounds(name, value)
        if feature is not None:
            _check(name, value, feature)
        used[name] = value

    def _missing(self, name: str, feature: Feature | None, used: Features) -> None:
        meaning = (feature.missing if feature else None) or self.missing
        if meaning == "refuse" or (feature and feature.required and meaning == "drop"):
            raise ContractError("missing", f"feature {name!r} is missing (null or NaN)")
        if meaning == "none":
            used[name] = None

    def _absent(self, name: str, feature: Feature, used: Features) -> None:
        if feature.required:
            raise ContractError("missing", f"feature {name!r} is required and absent")
        if (feature.missing or self.missing) == "none":
            used[name] = None

    def _check_bounds(self, name: str, value: FeatureValue) -> None:
        if isinstance(value, float):
            if math.isinf(value):
                raise ContractError("infinite", f"feature {name!r} is {value}")
        elif isinstance(value, list):
            if not all(map(math.isfinite, value)):
                raise ContractError("infinite", f"feature {name!r} holds a number that is not finite")
        elif isinstance(value, (str, bytes)) and len(value) > self.max_value_bytes:
            raise ContractError("size", f"feature {name!r} holds {len(value)} bytes; at most {self.max_value_bytes}")


_DEFAULT: Final = Contract()


def _counts(contract: Contract, name: str) -> bool:
    """Return whether an event without a declared feature is refused, or the feature is added to it."""
    feature = contract.features[name]
    return feature.required or (feature.missing or contract.missing) == "none"


def _calendar_features(calendar: CalendarFeatures) -> dict[str, Feature]:
    # No outliers: a month is far outside the months before in every January.
    return {
        name: Feature(type=PARTS[part].type, minimum=PARTS[part].minimum, maximum=PARTS[part].maximum, bounds="off")
        for name, part in calendar.names.items()
    }


def clash(calendar: CalendarFeatures, name: str) -> str:
    """Return the reason why no feature may be sent under a name of the calendar's, and the way out."""
    return (
        f"Calendar({calendar.names[name]!r}) computes {name!r} from the event's time: leave one of the two out, or "
        "give the calendar's features other names with Calendar(..., prefix='event_')"
    )


def _is_plain(features: Features, max_name_chars: int) -> bool:
    """Return whether every value is a finite number or a boolean: a quick check that fits most events."""
    for name, value in features.items():
        kind = value.__class__
        # x - x is 0 only for finite x, so one operation detects NaN and both infinities.
        if not (kind is int or kind is bool or (kind is float and value - value == 0.0)):  # type: ignore[operator]
            return False
        if len(name) > max_name_chars:
            return False
    return True


def _check(name: str, value: FeatureValue, feature: Feature) -> None:
    wanted = _TYPES[feature.type]
    shown, exact = (MASK, MASK) if feature.private else (_short(value), str(value))
    if not isinstance(value, wanted) or (isinstance(value, bool) and feature.type != "boolean"):
        raise ContractError("type", f"feature {name!r} is {type(value).__name__} {shown}, not {feature.type}")
    if isinstance(value, (int, float)):
        if feature.minimum is not None and value < feature.minimum:
            raise ContractError("range", f"feature {name!r} is {exact}, below {feature.minimum}")
        if feature.maximum is not None and value > feature.maximum:
            raise ContractError("range", f"feature {name!r} is {exact}, above {feature.maximum}")
    if feature.categories is not None and value not in feature.categories:
        raise ContractError("category", f"feature {name!r} is {shown}, not one of the categories")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:39] + "…"


# --- private features --------------------------------------------------------------------------------


def masked(features: Mapping[str, Any], private: Collection[str]) -> dict[str, Any]:
    """Return features for people, in which no private value is left.

    >>> masked({"iban": "DE02", "amount": 3.0}, {"iban"})
    {'iban': '(private)', 'amount': 3.0}
    """
    return {name: MASK if name in private and value is not None else value for name, value in features.items()}


def without_values(text: str, features: Mapping[str, Any], private: Collection[str]) -> str:
    """Return a text, such as a model's exception, in which the values of private features are masked.

    >>> without_values("could not convert 'DE02' to float", {"iban": "DE02"}, {"iban"})
    'could not convert (private) to float'
    """
    spelled = {
        each
        for name in private
        if (value := features.get(name)) is not None
        for one in (value if isinstance(value, list) else [value])
        for each in (str(one), repr(one))
    }
    for each in sorted(filter(None, spelled), key=len, reverse=True):
        text = text.replace(each, MASK)
    return text


def without_any_value(text: str) -> str:
    """Return the reason why a message was refused, without what it says the message held.

    >>> without_any_value("the time at $.at is 'DE02': neither ms since 1970 nor ISO 8601")
    'the time at $.at is (private)'
    """
    return _TOLD.sub(rf"\1{MASK}", text, count=1)
