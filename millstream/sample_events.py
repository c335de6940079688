"""Events to try a stream's model with: from its contract, from its source, or found out by trying."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Literal

from river import compose, feature_extraction, preprocessing

from consumers.river_model import wrap
from millstream.load import LoadedStream
from millstream.parts import walk
from millstream.stream import Stream
from producers.rows import SourceError, SourceSpec
from producers.sources import open_source
from schemas.contract import Contract, ContractError, Feature
from schemas.events import Features, FeatureValue, Scalar

_WORDS: Final = ("offer", "account", "verify", "meeting", "invoice", "lunch", "password", "free", "budget", "team")
_CATEGORIES: Final = ("red", "green", "blue")
_NUMBERS: Final = 5
_TRIES: Final = 60
_MISSING_SHARE: Final = 0.1
Kind = Literal["number", "text", "category"]
_NEXT: Final[dict[Kind, Kind]] = {"number": "text", "text": "category"}


@dataclass(frozen=True)
class Example:
    """Features as the model is to see them, and its label."""

    features: Features
    label: Scalar


@dataclass(frozen=True)
class Sample:
    """What to try a model with.

    Attributes
    ----------
    unseen
        Events with words and numbers that no example has.
    origin
        Where they are from, for people.
    """

    examples: list[Example]
    unseen: list[Features]
    origin: str


def sample(loaded: LoadedStream, count: int) -> Sample:
    """Return `count` examples, the same ones each time.

    Raises
    ------
    SourceError
        Where the file's SOURCE cannot be read.
    """
    stream = loaded.stream
    if stream.contract.features:
        examples = _from_contract(stream.contract, stream, count)
        return Sample(examples, _unseen(examples, stream.contract), "events made from the contract")
    if loaded.source is not None:
        examples = _from_source(loaded.source, stream, count)
        return Sample(examples, _unseen(examples, stream.contract), f"events of {loaded.source}")
    kinds = _find_kinds(loaded)
    examples = _generic(kinds, stream, count)
    text = sum(kind == "text" for kind in kinds.values())
    origin = f"made-up events of {len(kinds)} features" + (f", {text} of them text" if text else "")
    return Sample(examples, _unseen(examples, stream.contract), origin)


# --- from the contract -----------------------------------------------------------------------------


def _from_contract(contract: Contract, stream: Stream, count: int) -> list[Example]:
    rng = random.Random(1)  # noqa: S311 - examples, not secrets
    made: list[Example] = []
    while len(made) < count:
        raw: Features = {}
        for name, feature in contract.features.items():
            # The first ones are whole, so that what fails on those fails always.
            if not feature.required and len(made) >= count // 4 and rng.random() < _MISSING_SHARE:
                continue
            raw[name] = _value(feature, rng)
        try:
            features = contract.apply(raw)
        except ContractError:
            # A contract can forbid what its own features allow one by one; such events never reach the model.
            features = contract.apply({name: _value(each, rng) for name, each in contract.features.items()})
        made.append(Example(features, _label(stream, features, rng)))
    return made


def _value(feature: Feature, rng: random.Random) -> FeatureValue:
    if feature.categories:
        return rng.choice(feature.categories)
    if feature.type in ("number", "integer"):
        low, high = _range(feature)
        return rng.uniform(low, high) if feature.type == "number" else rng.randint(math.ceil(low), math.floor(high))
    if feature.type == "boolean":
        return rng.random() < 0.5
    if feature.type == "string":
        return " ".join(rng.choices(_WORDS, k=rng.randint(1, 8)))
    return rng.randbytes(8) if feature.type == "bytes" else [rng.gauss(0, 1) for _ in range(4)]


def _range(feature: Feature) -> tuple[float, float]:
    low, high = feature.minimum, feature.maximum
    if low is None:
        low = -3.0 if high is None else high - 6.0
    return low, low + 6.0 if high is None else high


def _label(stream: Stream, features: Features, rng: random.Random) -> Scalar:
    """Return a label that has to do with the features, mostly."""
    signal = sum(value for value in features.values() if isinstance(value, (int, float)))
    signal += sum(value.count("e") - 2 for value in features.values() if isinstance(value, str))
    signal += rng.gauss(0, 0.5)
    if stream.task == "regression":
        return 20.0 + abs(signal)  # positive: a logarithm of the target is a usual wish
    if stream.task == "multiclass":
        classes: tuple[Scalar, ...] = tuple(stream.classes) if stream.classes else ("a", "b", "c")
        return classes[int(abs(signal)) % len(classes)]
    return signal > 0


# --- from a source ---------------------------------------------------------------------------------


def _from_source(place: str, stream: Stream, count: int) -> list[Example]:
    in_file = not place.startswith("river:")
    spec = SourceSpec(
        target=stream.target,
        label=stream.label,
        id=stream.id if in_file else None,
        time=stream.time if in_file else None,
        label_required=stream.task != "anomaly",
    )
    rng = random.Random(1)  # noqa: S311 - examples, not secrets
    found: list[Example] = []
    for row in islice(open_source(place, spec).rows(lambda bad: None), 4 * count):
        try:
            features = stream.contract.apply(row.features)
        except ContractError:
            continue
        label = _label(stream, features, rng) if row.label is None else stream.target.coerce(row.label)
        found.append(Example(features, label))
        if len(found) == count:
            break
    if not found:
        raise SourceError(f"{place} has no row that is an event of this stream")
    return found


# --- by trying -------------------------------------------------------------------------------------


def _find_kinds(loaded: LoadedStream) -> dict[str, Kind]:
    """Return features that the model can take: those it names, and whatever it then asks for."""
    model = loaded.fresh_model()
    kinds: dict[str, Kind] = {f"x{number}": "number" for number in range(_NUMBERS)}
    for part in walk(model):
        kinds.update(_named_by(part.value))
    last: str | None = None
    for _ in range(_TRIES):
        error = _raised(loaded, kinds)
        if error is None:
            break
        missing = error.args[0] if isinstance(error, KeyError) and error.args else None
        if isinstance(missing, str) and missing not in kinds:
            kinds[missing] = "number"
            last = missing
        elif last is not None and kinds[last] in _NEXT:
            kinds[last] = _NEXT[kinds[last]]
        else:
            break
    return kinds


def _named_by(part: Any) -> Mapping[str, Kind]:
    if isinstance(part, (feature_extraction.BagOfWords, preprocessing.GapEncoder)):
        return {part.on: "text"} if isinstance(part.on, str) else {}
    if isinstance(part, feature_extraction.TargetAgg):
        return dict.fromkeys(part.by or (), "category")
    if isinstance(part, feature_extraction.Agg):
        return {**dict.fromkeys(part.by or (), "category"), part.on: "number"}
    if isinstance(part, compose.Select):
        return {key: "number" for key in part.keys if isinstance(key, str)}
    return {}


def _raised(loaded: LoadedStream, kinds: Mapping[str, Kind]) -> Exception | None:
    model = wrap(loaded.fresh_model(), loaded.stream.task)
    try:
        for example in _generic(kinds, loaded.stream, 10):
            model.predict(example.features)
            model.learn(example.features, example.label, 1.0)
    except Exception as error:  # noqa: BLE001 - whatever it is, another kind of event is tried
        return error
    return None


def _generic(kinds: Mapping[str, Kind], stream: Stream, count: int) -> list[Example]:
    rng = random.Random(1)  # noqa: S311 - examples, not secrets
    made = []
    for _ in range(count):
        features: Features = {}
        for name, kind in kinds.items():
            if kind == "number":
                features[name] = rng.random()
            else:
                features[name] = _value(
                    Feature(type="string", categories=_CATEGORIES if kind == "category" else None), rng
                )
        made.append(Example(features, _label(stream, features, rng)))
    return made


def _unseen(examples: list[Example], contract: Contract) -> list[Features]:
    """Return events as no example was: other words and other numbers under the same names."""
    made: list[Features] = []
    for number, example in enumerate(examples[:40]):
        features: Features = {}
        for name, value in example.features.items():
            features[name] = _other(value, number)
        try:
            made.append(contract.apply(features))
        except ContractError:
            made.append(example.features)
    return made


def _other(value: FeatureValue, number: int) -> FeatureValue:
    if isinstance(value, str):
        return f"unseen{number}"
    if isinstance(value, float):
        return value * 1.0001
    return value
