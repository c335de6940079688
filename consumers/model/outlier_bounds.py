"""Type and robust bounds of each feature, learned from the log, to detect impossible values.

The first values of a feature fix its type. The newest sampled values give robust bounds: the median, and the median
absolute deviation from it (MAD) times 1.4826, which estimates a normal distribution's standard deviation and tolerates
a sample of which nearly half is wrong. If the MAD is 0, it is the mean absolute deviation times 1.2533 (Iglewicz and
Hoaglin, "How to Detect and Handle Outliers", ASQC, 1993). Their limit of 3.5 such deviations finds outliers. The limit
here, a thousand deviations and ten times the median, is meant to find values that no source of that kind produces. A
value outside enters the sample as the bound that it crossed (winsorized).

The bounds are a function of the log alone and a part of the learner's state, so a replay decides the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from schemas.contract import MASK, Bounds, Contract
from schemas.events import Features, Scalar

_SAMPLE: Final = 64  # values of each feature that bounds are computed from
_EVERY: Final = 16  # with a full sample, one example in so many is sampled
_LEAST: Final = 16  # values before the first estimate of bounds, and between two estimates
_FIXED: Final = 32  # values that fix a feature's type
_DEVIATIONS: Final = 1000.0
_MEDIANS: Final = 10.0
# For a larger number the square, or a sum of a few squares, may overflow a double, whatever the feature was so far.
_LARGEST: Final = 1e100
_OVERFLOWING: Final = 1e30
_MOST_FEATURES: Final = 1000
_LABEL: Final = "\0label"
_MOST_ORDERS: Final = 64
_NUMBERS: Final = frozenset({int, float, bool})
_KINDS: Final[dict[type, tuple[str, frozenset[type]]]] = {
    **dict.fromkeys(_NUMBERS, ("number", _NUMBERS)),
    str: ("string", frozenset({str})),
    bytes: ("bytes", frozenset({bytes})),
    list: ("vector", frozenset({list})),
}
_ANY: Final = frozenset(_KINDS)


class Far(NamedTuple):
    """A value far outside its feature's bounds.

    Attributes
    ----------
    overflows
        True if the value's tenth power overflows a double: a model's computation with it may overflow too.
    """

    reason: str
    warns: bool
    overflows: bool = False


class Unusual(Exception):  # noqa: N818
    """An example that must not be learned, judged by the examples before it.

    Attributes
    ----------
    code
        ``type`` or ``outlier``.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class _Fence(NamedTuple):
    classes: frozenset[type]
    low: float
    high: float
    bounds: Bounds


class _Feature:
    """One feature's newest values. `kind` is `None` before the first value, empty if the feature had several kinds."""

    def __init__(self, kind: str | None = None, count: int = 0, sample: Iterable[float] = ()) -> None:
        self.kind = kind
        self.count = count
        self.sample = list(sample)

    def add(self, value: Any, low: float, high: float) -> None:
        """Add a value; a number is clipped to `low` and `high`, so that a single one cannot move the bounds far."""
        kind = _KINDS[value.__class__][0]
        if self.count < _FIXED:
            self.kind = kind if self.kind in (None, kind) else ""
        if kind == "number":
            number = min(max(float(value), low), high)
            if len(self.sample) < _SAMPLE:
                self.sample.append(number)
            else:
                self.sample[self.count % _SAMPLE] = number
        self.count += 1


class Guard:
    """Checks each example against the examples before it, then adds it to the bounds.

    Parameters
    ----------
    contract
        Defines how each feature's outliers are handled. The types that it names have already been checked.
    """

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._features: dict[str, _Feature] = {}
        self._open = self._fence_open("")
        self._fences = {name: self._fence_open(name) for name in contract.declared}
        self._seen = 0
        self._ranges: dict[tuple[str, ...], list[tuple[float, float]]] = {}  # by names in their order

    def look(self, features: Features, label: Scalar | None) -> Far | None:
        """Check an example; return `None` if nothing is unusual. Give `label` only if it is a number or a class.

        Raises
        ------
        Unusual
            If a value has another type than the ones before, or is an outlier that must be refused.
        """
        if self.admits(features, label):
            return None
        far = wrong = None
        overflows = False
        for name, value in features.items():
            classes, low, high, _ = fence = self._fences.get(name) or self._open
            kind = value.__class__
            if kind not in classes:
                wrong = wrong or self._wrong(name, value)
            elif (kind is float or kind is int) and not low <= value <= high:  # type: ignore[operator]
                far = self._worse(far, name, value, fence)
                overflows |= abs(value) > _OVERFLOWING  # type: ignore[arg-type]
        if label is not None:
            fence = self._fences.get(_LABEL, self._open)
            if label.__class__ not in fence.classes:
                wrong = wrong or self._wrong(_LABEL, label)
            elif label.__class__ is float and not fence.low <= label <= fence.high:
                far = self._worse(far, _LABEL, label, fence)
                overflows |= abs(label) > _OVERFLOWING
        if wrong is not None:
            raise wrong
        # A refused outlier is noted too: if the values stay there, that is the feature's new range.
        self._count(features, label)
        if far is not None and far[1].bounds == "dead-letter":
            raise Unusual("outlier", far[0])
        return None if far is None else Far(far[0], far[1].bounds == "warn", overflows)

    def knows(self, features: Features) -> bool:
        """Return whether all values are finite doubles within their bounds, under names as in an earlier example."""
        ranges = self._ranges.get(tuple(features))
        if ranges is None:
            return False
        for value, (low, high) in zip(features.values(), ranges, strict=False):
            if value.__class__ is not float or not low <= value <= high:
                return False
        return True

    def admits(self, features: Features, label: Scalar | None, known: bool = False) -> bool:
        """Add an example of which `look` would return `None`; otherwise return `False`, and nothing has changed.

        `known` is what `knows` has returned for these features.
        """
        fences, unknown = self._fences, self._open
        if not known and not self._within(features):
            return False
        if label is not None:
            classes, low, high, _ = fences.get(_LABEL) or unknown
            kind = label.__class__
            if kind not in classes or (kind is float and not low <= label <= high):  # type: ignore[operator]
                return False
        self._count(features, label)
        return True

    def _within(self, features: Features) -> bool:
        fences, unknown, doubles = self._fences, self._open, True
        for name, value in features.items():
            classes, low, high, _ = fences.get(name) or unknown
            kind = value.__class__
            if kind not in classes:
                if value is not None:
                    return False
            elif (kind is float or kind is int) and not low <= value <= high:  # type: ignore[operator]
                return False
            doubles = doubles and kind is float
        if doubles and len(self._ranges) < _MOST_ORDERS:
            found = [fences.get(name) or unknown for name in features]
            self._ranges[tuple(features)] = [(fence.low, fence.high) for fence in found]
        return True

    def _count(self, features: Features, label: Scalar | None) -> None:
        if self._seen < _SAMPLE or self._seen % _EVERY == 0:
            self._note(features, label)
        self._seen += 1

    def _wrong(self, name: str, value: object) -> Unusual | None:
        if value is None:
            return None  # the contract has accepted it
        kind = self._features[name].kind
        said = MASK if name in self._contract.private else f"{value!r:.40}"
        return Unusual("type", f"{_named(name)} is {type(value).__name__} {said}, and was {kind} before")

    def _worse(self, far: tuple[str, _Fence] | None, name: str, value: object, fence: _Fence) -> tuple[str, _Fence]:
        if far is not None and far[1].bounds == "dead-letter":
            return far
        if name in self._contract.private:
            return f"{_named(name)} is {MASK}, far outside of the values before", fence
        return f"{_named(name)} is {value!r}, far outside {fence.low:.4g} to {fence.high:.4g}", fence

    # --- adding to the sample ----------------------------------------------------------------------

    def _note(self, features: Features, label: Scalar | None) -> None:
        for name, value in features.items():
            if value is not None:
                self._add(name, value)
        if label is not None:
            self._add(_LABEL, label)

    def _add(self, name: str, value: object) -> None:
        feature = self._features.get(name)
        if feature is None:
            if len(self._features) >= _MOST_FEATURES:
                return
            feature = self._features[name] = _Feature()
        fence = self._fences.get(name, self._open)
        feature.add(value, fence.low, fence.high)
        if feature.count % _LEAST == 0:
            self._ranges.clear()
            self._fences[name] = self._fence(name, feature)

    def _fence_open(self, name: str) -> _Fence:
        feature = self._contract.declared.get(name)
        bounds = (feature.bounds if feature is not None else None) or self._contract.bounds
        return _Fence(_ANY, -_LARGEST, _LARGEST, bounds)

    def _fence(self, name: str, feature: _Feature) -> _Fence:
        fence = self._fence_open(name)
        if feature.kind and feature.count >= _FIXED:
            fence = fence._replace(classes=next(classes for kind, classes in _KINDS.values() if kind == feature.kind))
        if fence.bounds == "off" or len(feature.sample) < _LEAST or (name == _LABEL and feature.kind != "number"):
            return fence
        low, high = _bounds(feature.sample)
        return fence._replace(low=low, high=high)

    # --- state -------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """Return the state as plain values."""
        features = {name: (each.kind, each.count, list(each.sample)) for name, each in self._features.items()}
        fences = {name: (each.low, each.high) for name, each in self._fences.items()}
        return {"seen": self._seen, "features": features, "fences": fences}

    def restore(self, dumped: dict[str, Any]) -> None:
        """Restore a dumped state."""
        self._seen = dumped["seen"]
        self._ranges.clear()
        self._features = {name: _Feature(*held) for name, held in dumped["features"].items()}
        for name, (low, high) in dumped["fences"].items():
            fence = self._fence(name, self._features[name]) if name in self._features else self._fence_open(name)
            self._fences[name] = fence._replace(low=low, high=high)


def _bounds(sample: Iterable[float]) -> tuple[float, float]:
    """Return the bounds outside of which no source that produced the sample has values."""
    ordered = sorted(sample)
    median = ordered[len(ordered) // 2]
    apart = sorted(abs(value - median) for value in ordered)
    deviation = apart[len(apart) // 2] * 1.4826 or sum(apart) / len(apart) * 1.2533 or 1.0
    reach = max(_DEVIATIONS * deviation, _MEDIANS * abs(median))
    return median - reach, median + reach


def _named(name: str) -> str:
    return "the label" if name == _LABEL else f"feature {name!r}"
