"""Check that a stream's model can be saved, rebuilt and trusted: `millstream check`."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Final

from consumers.model.river_model import ModelError, RiverModel
from millstream.check.alert_checks import look_at_alerts
from millstream.check.batch_checks import look_at_batch
from millstream.check.code_checks import look_at_code
from millstream.check.contract_checks import look_at_contract, look_at_limits
from millstream.check.findings import CheckReport, Finding, Severity
from millstream.check.model_checks import look_at_metrics, look_at_parts, look_at_shares, look_at_weight, unpicklable
from millstream.check.round_trip import Trial, TrialError, differing, refuses_text, unanswered
from millstream.check.row_checks import look_at_rows
from millstream.check.sample_events import Sample, sample
from millstream.check.watch_checks import look_at_watch
from millstream.stream.batch import BatchModel
from millstream.stream.load import LoadedStream
from millstream.stream.model_parameters import walk
from model_store import restricted_pickle
from model_store.errors import CannotPickle, Damaged, PickleNotAllowed
from producers.rows import SourceError
from schemas.events import Features

__all__ = ["CheckReport", "Finding", "Severity", "check"]

_EXAMPLES: Final = 300
_PASS_SECONDS: Final = 0.5


def check(loaded: LoadedStream, examples: int = _EXAMPLES, place: str | None = None) -> CheckReport:
    """Try the stream's model and return the findings.

    The model is built twice, learns and predicts up to `examples` events (fewer if it is slow), and is saved and loaded
    through the restricted loader; the answers must agree to the last bit.

    Parameters
    ----------
    place
        A file, or ``river:NAME``, whose first rows the model is tried on; without it, events are generated.

    >>> from millstream.stream.load import load_stream
    >>> check(load_stream("phishing")).errors
    ()

    Raises
    ------
    LoadError
        If `model` raises when it is called again, or returns something else.
    """
    found = _Check(loaded, examples, place).report()
    known = set(found.findings)
    for other in loaded.others:
        # What is said of the stream as a whole is not said again of each model.
        batch = isinstance(other.stream.model, BatchModel)
        found_too = (
            tuple(look_at_batch(other, loaded, examples, place))
            if batch
            else _Check(other, examples, place).report().findings
        )
        own = [each for each in found_too if each not in known and (each.about, each.severity) != ("code", "ok")]
        named = (dataclasses.replace(each, text=f"model {other.model}: {each.text}") for each in own)
        found = dataclasses.replace(found, findings=(*found.findings, *named))
    return found


class _Check:
    def __init__(self, loaded: LoadedStream, examples: int, place: str | None) -> None:
        self._loaded = loaded
        self._place = place
        self._stream = loaded.stream
        self._wanted = examples
        self._sample = Sample([], [], "events")
        self._copy = False

    def report(self) -> CheckReport:
        findings = tuple(self._findings())
        return CheckReport(self._stream.name, findings, len(self._sample.examples), self._sample.origin, self._copy)

    def _findings(self) -> Iterator[Finding]:
        model = self._loaded.fresh_model()
        yield Finding("ok", "builds", f"{self._loaded.path.name} imports; its model is {_short(str(model))}")
        if model is self._loaded.fresh_model():
            yield Finding(
                "error",
                "builds",
                "model= returns the same object each time: build it inside, as in model=lambda: Model()",
            )
            return
        yield from look_at_code(self._loaded)
        yield from look_at_parts(model)
        yield from look_at_metrics(self._stream)
        yield from look_at_contract(self._stream, self._place)
        yield from look_at_alerts(self._stream)
        yield from look_at_watch(self._stream)
        if impossible := list(look_at_limits(self._stream)):
            yield from impossible
            return
        try:
            self._sample = _seen(sample(self._loaded, self._wanted, self._place), self._stream.sees)
        except SourceError as error:
            yield Finding("error", "events", f"{'SOURCE' if self._place is None else '--from'}: {error}")
            return
        if self._place is not None:
            yield from look_at_rows(self._stream, self._place, self._sample)
        pairs = [(example.features, example.label) for example in self._sample.examples]
        yield from look_at_weight(self._stream, model, pairs)
        try:
            yield from self._with_gaps()
        except TrialError as error:
            yield self._untried(error) if self._refuses_texts(error) else self._failed(error)

    def _refuses_texts(self, error: TrialError) -> bool:
        features = self._sample.examples[error.number].features.values()
        return self._sample.made_up and refuses_text(error.cause, [each for each in features if isinstance(each, str)])

    def _untried(self, error: TrialError) -> Finding:
        self._sample = Sample([], [], "events: the model takes no made-up texts")
        return Finding(
            "warning",
            "events",
            f"the model could not be tried on made-up texts ({error}): "
            f"`millstream check {self._loaded.path.name} --from FILE` tries it on real rows",
        )

    def _with_gaps(self) -> Iterator[Finding]:
        """Try the model; if only events with a missing feature break it, try it again without those."""
        found = self._sample
        named = self._stream.contract.features
        whole = [example for example in found.examples if named.keys() <= example.features.keys()]
        whole = [example for example in whole if None not in example.features.values()]
        try:
            yield from list(self._try_out())
        except TrialError as error:
            example = found.examples[error.number]
            missing = [name for name in named if example.features.get(name) is None]
            if not missing or not whole:
                raise
            names = ", ".join(map(repr, missing))
            yield Finding(
                "warning",
                "events",
                f"the model raises on an event without {names} ({error}): make such features required=True, "
                "or fill them in before the model, as preprocessing.StatImputer does",
            )
            self._sample = dataclasses.replace(found, examples=whole)
            yield from self._try_out()

    def _failed(self, error: TrialError) -> Finding:
        example = self._sample.examples[error.number]
        names = ", ".join(map(repr, list(example.features)[:8]))
        text = f"the model raised on an event when asked to {error.doing}: {error} (its features: {names})"
        model = self._loaded.fresh_model()
        unnamed = [part.value for part in walk(model) if getattr(part.value, "on", "") is None]
        if unnamed:
            kind = type(unnamed[0]).__name__
            text += f". {kind} has no on=: an event is a dictionary, so name the text feature, {kind}(on=...)"
        elif not self._stream.contract.features and self._loaded.source is None:
            text += ". With features= (the contract) in the Stream it is tried on such events"
        return Finding("error", "events", text)

    def _try_out(self) -> Iterator[Finding]:
        trial = Trial(self._loaded, self._sample.examples)
        trial.limit(_PASS_SECONDS)
        self._sample = dataclasses.replace(self._sample, examples=trial.examples)
        yield from self._builds(trial)
        half = len(trial.examples) // 2
        model = trial.build()
        trial.run(model, 0, half)
        with contextlib.suppress(ModelError):  # a missing answer was reported above
            yield from look_at_shares(self._stream, model.predict(dict(trial.examples[0].features)))
        try:
            data = restricted_pickle.dumps(model.model)
        except CannotPickle as error:
            culprits = unpicklable(self._loaded.fresh_model(), self._loaded.path) or [str(error)]
            yield from (Finding("error", "saves", f"the model cannot be saved: {each}") for each in culprits)
            return
        problem = self._does_not_load(trial, data)
        if problem:
            yield problem
            return
        saved = self._goes_on(trial, model, data, half)
        yield saved
        if saved.severity == "ok":
            yield from self._predicts(trial, data, half)

    def _builds(self, trial: Trial) -> Iterator[Finding]:
        first, second = trial.build(), trial.build()
        before = _bytes(second.model)
        answers = trial.run(first)
        if _bytes(second.model) != before:
            yield Finding(
                "error",
                "builds",
                "two builds share a part: what one learns changes the other; build every part inside model=",
            )
            return
        yield from _unanswered(answers)
        place = differing(answers, trial.run(second))
        count = len(trial.examples)
        if place is None:
            yield Finding(
                "ok", "builds", f"two builds learn and predict the same to the last bit ({count} {self._sample.origin})"
            )
        elif any(each.about == "seeds" for each in look_at_parts(self._loaded.fresh_model())):
            yield Finding("warning", "builds", f"two builds differ from event {place + 1} on, as they have no seed")
        else:
            yield Finding(
                "error",
                "builds",
                f"two builds differ from event {place + 1} on, though nothing in them is unseeded: does the file's own "
                "code use the random module, the time, or the order of a set?",
            )

    def _does_not_load(self, trial: Trial, data: bytes) -> Finding | None:
        try:
            trial.load(data)
        except PickleNotAllowed as error:
            way_out = "call it from a def of this file, or keep it out of the model"
            return Finding("error", "saves", f"the saved model is refused on loading: {error}; {way_out}")
        except Damaged as error:
            return Finding("error", "saves", f"the saved model does not load: {error}")
        return None

    def _goes_on(self, trial: Trial, model: RiverModel, data: bytes, half: int) -> Finding:
        """Compare the model with its saved and loaded copy while both continue to predict and learn."""
        loaded = trial.load(data)
        answers = trial.run(model, half)
        try:
            place = differing(answers, trial.run(loaded, half))
        except TrialError as error:
            return Finding("error", "saves", f"saved and loaded, the model raises where the original does not: {error}")
        if place is not None:
            text = "saved and loaded, the model does not continue like the original: answers differ"
            return Finding("error", "saves", f"{text} from event {place + 1} after loading")
        text = "and loaded by the restricted loader, it predicts and continues to learn the same"
        return Finding("ok", "saves", f"saved ({len(data):,} bytes) {text}")

    def _predicts(self, trial: Trial, data: bytes, half: int) -> Iterator[Finding]:
        """Check that predicting does not change the model; else a version would depend on the events it answered."""
        others, error = trial.predictable(trial.load(data), self._sample.unseen)
        new_feature = {**trial.examples[-1].features, "never_seen": 0.5}
        what = "values"
        if error is None and not self._stream.contract.features:  # without a contract every event is accepted
            error, what = trial.predictable(trial.load(data), [new_feature])[1], "a feature that"
        if error is not None:
            text = f"it raises on {what} it has not learned ({error})"
            yield Finding("warning", "predicts", f"{text}: such events get an error in place of a prediction")
        others += [example.features for example in reversed(trial.examples)]
        asked = trial.run(trial.load(data), half, between=others)
        if differing(trial.run(trial.load(data), half), asked) is not None:
            self._copy = True
            yield Finding(
                "error",
                "predicts",
                "predicting changes what the model learns and answers afterwards: a version would depend on who asked "
                "it what; a transform_one or predict_one must leave the model as it is",
            )
            return
        grown = trial.growth(data, others)
        if grown > 0:
            yield Finding(
                "warning",
                "predicts",
                f"predicting adds to it without changing its answers ({grown:,} bytes after {len(others)} events); "
                "a predictor is rid of that with each new version",
            )
        else:
            yield Finding("ok", "predicts", "predicting does not change it")


def _seen(found: Sample, sees: frozenset[str] | None) -> Sample:
    """Return the sample with only the features that the model is given."""
    if sees is None:
        return found

    def few(features: Features) -> Features:
        return {name: value for name, value in features.items() if name in sees}

    examples = [dataclasses.replace(each, features=few(each.features)) for each in found.examples]
    return dataclasses.replace(found, examples=examples, unseen=[few(each) for each in found.unseen])


def _unanswered(answers: list[str]) -> Iterator[Finding]:
    """Yield findings on events for which the model has no finite answer."""
    none = unanswered(answers)
    if not none:
        return
    reason = next(reversed(none.values()))
    if len(none) == len(answers):
        yield Finding("error", "events", f"the model has an answer to none of {len(answers)} events: {reason}")
    elif none.keys() == {0}:
        text = f"the model has no answer before it has learned an example ({reason})"
        yield Finding("warning", "events", f"{text}: until then events get no prediction, and are learned all the same")
    else:
        text = f"the model has no answer to {len(none)} of {len(answers)} events ({reason})"
        yield Finding("warning", "events", f"{text}: such events get an error in place of a prediction")


def _bytes(model: object) -> bytes | None:
    try:
        return restricted_pickle.dumps(model)
    except CannotPickle:
        return None


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 120 else text[:119] + "…"
