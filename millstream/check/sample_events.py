"""Sample events to try a model: from a file, the contract or the source, or found by trial and error.

A transformer may expect texts in one form, such as dates. If it raises on generated words, other forms are tried.
"""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final, Literal, TypeAlias

from river import compose, feature_extraction, preprocessing

from consumers.model.river_model import ModelError, wrap
from millstream.stream.load import LoadedStream
from millstream.stream.model_parameters import walk
from millstream.stream.stream import Stream
from producers.file_formats import open_source
from producers.rows import SourceError, SourceSpec
from schemas.contract import Contract, ContractError, Feature
from schemas.events import Features, FeatureValue, Scalar
from schemas.preparing import of_event

_WORDS: Final = ("offer", "account", "verify", "meeting", "invoice", "lunch", "password", "free", "budget", "team")
_CATEGORIES: Final = ("red", "green", "blue")
_NUMBERS: Final = 5
_TRIES: Final = 60
_MISSING_SHARE: Final = 0.1
_HELD_BACK: Final = 40
_FIRST_MS: Final = 1_704_067_200_000  # the beginning of 2024
Kind = Literal["number", "text", "category", "dates", "times", "whole numbers", "decimals"]
_NEXT: Final[dict[Kind, Kind]] = {"number": "text", "text": "category", "category": "dates", "dates": "times"}
_FORMS: Final[tuple[Kind, ...]] = ("dates", "times", "whole numbers", "decimals")
Forms: TypeAlias = Mapping[str, Kind]


@dataclass(frozen=True)
class SampleExample:
    """Features in the form that the model receives, and their label."""

    features: Features
    label: Scalar


@dataclass(frozen=True)
class Sample:
    """Sample examples and events for trying a model.

    Attributes
    ----------
    unseen
        Events with words and numbers that occur in no example.
    origin
        Source of the events, as text for the report.
    made_up
        True if the events are generated: a model may refuse them and accept real ones.
    refused
        For a file: the number of rows that are not valid events of the stream, and the reason for the first.
    """

    examples: list[SampleExample]
    unseen: list[Features]
    origin: str
    made_up: bool = False
    refused: tuple[int, str] = (0, "")


def sample(loaded: LoadedStream, count: int, place: str | None = None) -> Sample:
    """Return `count` examples, the same ones each time.

    Parameters
    ----------
    place
        A file, or ``river:NAME``, whose rows are used.

    Raises
    ------
    SourceError
        If `place`, or the stream file's SOURCE, cannot be read.
    """
    stream = loaded.stream
    if place is not None:
        examples, refused = _from_source(place, stream, count + _HELD_BACK)
        unseen = [example.features for example in examples[count:]]
        return Sample(examples[:count], unseen, f"events of {place}", refused=refused)
    if stream.contract.features:
        forms = _find_forms(loaded)
        examples = _from_contract(stream.contract, stream, count, forms)
        origin = "events made from the contract" + "".join(f", {kind} for {name!r}" for name, kind in forms.items())
        return Sample(examples, _unseen(examples, stream.contract, forms), origin, made_up=True)
    if loaded.source is not None:
        examples, _ = _from_source(loaded.source, stream, count)
        return Sample(examples, _unseen(examples, stream.contract, {}), f"events of {loaded.source}")
    kinds = _find_kinds(loaded)
    examples = _generic(kinds, stream, count)
    text = sum(kind == "text" for kind in kinds.values())
    origin = f"made-up events of {len(kinds)} features" + (f", {text} of them text" if text else "")
    return Sample(examples, _unseen(examples, stream.contract, kinds), origin, made_up=True)


# --- from the contract -----------------------------------------------------------------------------


def _find_forms(loaded: LoadedStream) -> Forms:
    """Return the contract's text features that need a special form, such as dates; not those that accept any words.

    Texts for which no form works are not returned; the model's exception is reported instead.
    """
    stream = loaded.stream
    named = stream.contract.features.items()
    texts = [name for name, feature in named if feature.type == "string" and not feature.categories]

    def raises(forms: Forms) -> bool:
        return _raised(loaded, _from_contract(stream.contract, stream, _NUMBERS * 2, forms)) is not None

    if not texts or not raises({}):
        return {}
    for form in _FORMS:
        forms = dict.fromkeys(texts, form)
        if raises(forms):
            continue
        for name in texts:
            others = {each: kind for each, kind in forms.items() if each != name}
            forms = forms if raises(others) else others
        return forms
    return {}


def _from_contract(contract: Contract, stream: Stream, count: int, forms: Forms) -> list[SampleExample]:
    rng = random.Random(1)  # noqa: S311 - examples, not secrets
    made: list[SampleExample] = []
    while len(made) < count:
        raw: Features = {}
        when = _when(contract, len(made))
        for name, feature in contract.features.items():
            # The first events have all features, so a failure on them is not due to a missing feature.
            if not feature.required and len(made) >= count // 4 and rng.random() < _MISSING_SHARE:
                continue
            raw[name] = _value(feature, rng, forms.get(name))
        try:
            features = contract.of_event(raw, when)
        except ContractError:
            # A contract can forbid a combination of valid features; such events never reach the model.
            named = contract.features.items()
            whole = {name: _value(each, rng, forms.get(name)) for name, each in named}
            features = contract.of_event(whole, when)
        made.append(SampleExample(features, _label(stream, features, rng)))
    return made


def _value(feature: Feature, rng: random.Random, form: Kind | None = None) -> FeatureValue:
    if feature.categories:
        return rng.choice(feature.categories)
    if feature.type in ("number", "integer"):
        low, high = _range(feature)
        return rng.uniform(low, high) if feature.type == "number" else rng.randint(math.ceil(low), math.floor(high))
    if feature.type == "boolean":
        return rng.random() < 0.5
    if feature.type == "string":
        return _text(form, rng)
    return rng.randbytes(8) if feature.type == "bytes" else [rng.gauss(0, 1) for _ in range(4)]


def _text(form: Kind | None, rng: random.Random) -> str:
    if form in ("dates", "times"):
        when = datetime(2024, 1, 1) + timedelta(seconds=rng.randrange(400 * 86_400))
        return when.date().isoformat() if form == "dates" else when.isoformat()
    if form == "whole numbers":
        return str(rng.randint(0, 999))
    if form == "decimals":
        return f"{rng.uniform(0, 10):.2f}"
    return " ".join(rng.choices(_WORDS, k=rng.randint(1, 8)))


def _range(feature: Feature) -> tuple[float, float]:
    low, high = feature.minimum, feature.maximum
    if low is None:
        low = -3.0 if high is None else high - 6
    return low, low + 6 if high is None else high  # integers stay integers, because a double would round ids


def _when(contract: Contract, number: int) -> int:
    """Return the time of an event that has none of its own: half a day and an hour after the one before."""
    return _FIRST_MS + number * 13 * 3_600_000 if contract.calendar is not None else 0


def _label(stream: Stream, features: Features, rng: random.Random) -> Scalar:
    """Return a label that mostly depends on the features."""
    signal = sum(value for value in features.values() if isinstance(value, (int, float)))
    signal += sum(value.count("e") - 2 for value in features.values() if isinstance(value, str))
    signal += rng.gauss(0, 0.5)
    if stream.task == "regression":
        return 20.0 + abs(signal)  # positive, because models often take the logarithm of the target
    if stream.task == "multiclass":
        classes: tuple[Scalar, ...] = tuple(stream.classes) if stream.classes else ("a", "b", "c")
        return classes[int(abs(signal)) % len(classes)]
    return signal > 0


# --- from a source ---------------------------------------------------------------------------------


def spec_of(stream: Stream, place: str) -> SourceSpec:
    """Return the meaning of the columns of a file, or of ``river:NAME``, to a stream."""
    in_file = not place.startswith("river:")
    return SourceSpec(
        target=stream.target,
        label=stream.label,
        id=stream.id if in_file else None,
        time=stream.time if in_file else None,
        contract=stream.contract,
        label_required=stream.task != "anomaly",
        prepare=stream.prepare,
    )


def _from_source(place: str, stream: Stream, count: int) -> tuple[list[SampleExample], tuple[int, str]]:
    """Return examples, and the number of invalid rows before the last of them, with the reason of the first."""
    rng = random.Random(1)  # noqa: S311 - examples, not secrets
    found: list[SampleExample] = []
    bad: list[str] = []
    spec = spec_of(stream, place)
    source = open_source(place, spec)
    for row in islice(source.rows(lambda each: bad.append(str(each))), 4 * count):
        try:
            when = row.event_time_ms if spec.time is not None else _when(stream.contract, len(found))
            features = of_event(stream.contract, stream.prepare, row.features, when)
        except ContractError as error:
            bad.append(str(source.bad(row.line, str(error))))
            continue
        label = _label(stream, features, rng) if row.label is None else stream.target.coerce(row.label)
        found.append(SampleExample(features, label))
        if len(found) == count:
            break
    if not found:
        raise SourceError(f"{place} has no row that is an event of this stream" + (f": {bad[0]}" if bad else ""))
    return found, (len(bad), bad[0] if bad else "")


# --- by trial and error ----------------------------------------------------------------------------


def _find_kinds(loaded: LoadedStream) -> dict[str, Kind]:
    """Return features that the model accepts: those it names, and those its exceptions then ask for."""
    model = loaded.fresh_model()
    kinds: dict[str, Kind] = {f"x{number}": "number" for number in range(_NUMBERS)}
    for part in walk(model):
        kinds.update(_named_by(part.value))
    calendar = loaded.stream.contract.calendar
    for name in () if calendar is None else calendar.names:
        kinds.pop(name, None)
    last: str | None = None
    for _ in range(_TRIES):
        error = _raised(loaded, _generic(kinds, loaded.stream, _NUMBERS * 2))
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


def _raised(loaded: LoadedStream, examples: list[SampleExample]) -> Exception | None:
    model = wrap(loaded.fresh_model(), loaded.stream.task)
    try:
        for example in examples:
            with contextlib.suppress(ModelError):  # a NaN answer does not mean that the features are wrong
                model.predict(example.features)
            model.learn(example.features, example.label, 1.0)
    except Exception as error:  # noqa: BLE001 - after any exception another kind of event is tried
        return error
    return None


def _generic(kinds: Mapping[str, Kind], stream: Stream, count: int) -> list[SampleExample]:
    rng = random.Random(1)  # noqa: S311 - examples, not secrets
    made = []
    calendar = stream.contract.calendar
    for number in range(count):
        features: Features = {}
        for name, kind in kinds.items():
            if kind == "number":
                features[name] = rng.random()
            else:
                features[name] = rng.choice(_CATEGORIES) if kind == "category" else _text(kind, rng)
        if calendar is not None:
            features |= calendar.at(_when(stream.contract, number))
        made.append(SampleExample(features, _label(stream, features, rng)))
    return made


def _unseen(examples: list[SampleExample], contract: Contract, forms: Forms) -> list[Features]:
    """Return events unlike any example: other words and numbers under the same names."""
    rng = random.Random(2)  # noqa: S311 - examples, not secrets
    made: list[Features] = []
    for number, example in enumerate(examples[:40]):
        features: Features = {}
        for name, value in example.features.items():
            form = forms.get(name)
            features[name] = _text(form, rng) if form in _FORMS else _other(value, number)
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
