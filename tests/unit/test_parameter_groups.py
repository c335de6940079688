"""The groups of a stream's parameters: what they refuse, what an old name is told, and that a definition stays."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from river import linear_model
from stream_spellings import EVERY_PARAMETER, HEAD, ODD
from user_files import forgetful, write

import millstream
from millstream import Checkpoints, Evaluation, Join, Labels, Predictions, Source, Stream, Validation
from millstream.cli.app import run
from millstream.stream.code_object import Code
from millstream.stream.errors import InvalidStream, LoadError
from millstream.stream.flat_names import FLAT
from millstream.stream.load import LoadedStream, load_stream, ready_made
from millstream.stream.parameter_groups import GROUPS
from millstream.version_code.choice import definition_of, run_code
from schemas.contract import Contract
from schemas.target import Target

__all__ = ["forgetful"]

# The hashes of definition, and of contract and target, from before there were groups. A learner goes on only with a
# version of its own: they may change with a release of River, and never with the spelling of a stream.
BEFORE: dict[str, tuple[str, str]] = {
    "bananas": (
        "cff213c690843bd404b9776a73571012ca3291e825812da6060e01cb96bf9598",
        "45ab372cec41a456fcde9482b70388b06797b5e5d363073bfd43344b06092a88",
    ),
    "bananas-drift": (
        "cff213c690843bd404b9776a73571012ca3291e825812da6060e01cb96bf9598",
        "45ab372cec41a456fcde9482b70388b06797b5e5d363073bfd43344b06092a88",
    ),
    "bananas-models": (
        "b667ebfedd50d7a7fdd957398bba1c09047a236575b3ab383969e4def2abc453",
        "45ab372cec41a456fcde9482b70388b06797b5e5d363073bfd43344b06092a88",
    ),
    "elec2": (
        "45c8900aa9b1aeaef1c634725ce4c55c5ccf0a57e8559c9ab15d8d34d94a6989",
        "c35d8173bb62248c00fad065d0c959a16797b5e5d363073bfd43344b06092a88",
    ),
    "image-segments": (
        "dcd0152ca8331370b795f376ca3a6b0d53695a8fc2bb89f420f7748399e9a611",
        "44136fa355b3678a1146ad16f7e8649e22452d17ebf0108eb5146f5fafe645a3",
    ),
    "phishing": (
        "cfab932ab5f7baab6f19c327cefb082a9f701036207b34c1e6fc15b505d4019a",
        "44136fa355b3678a1146ad16f7e8649e6797b5e5d363073bfd43344b06092a88",
    ),
    "shuttle": (
        "c316a9290b036258e3027ee2204c2d7b66b0d26f9034c00a0c12893b08c4ee9b",
        "44136fa355b3678a1146ad16f7e8649e269bb07ca15351e434aca0a17fbcb4d2",
    ),
    "trump-approval": (
        "75e2ab9804891ef8aaf1301dab4d7b3f804f904f6beb2c21a5c3d0fbdbcbbece",
        "44136fa355b3678a1146ad16f7e8649ef434dffd16f662dea4218e0e1b999cec",
    ),
    "every parameter": (
        "a4e3ba4588417baae4e68ec8e28d0885b679ed54d0c552d7cdc45b9b5d944e96",
        "aa76a7c98ef60916422005b63d21f4624849be39d6e0e266ff7ec25414f5448d",
    ),
    "anomaly": (
        "612150f72066e86b7034654c4f16e8aab881060a78eead96315428ab70caeabb",
        "44136fa355b3678a1146ad16f7e8649e269bb07ca15351e434aca0a17fbcb4d2",
    ),
    "one topic of events and labels": (
        "fe70dff7449d366d0e32b99dcf33d7cbeee359a9e7ec74528fcdbecd63b334e8",
        "f351b09b4c73f81311911624e7cfb5c16797b5e5d363073bfd43344b06092a88",
    ),
    "attributes of the module": (
        "d12da76bacdf61dd8585f16897dfc4621588521f7f551bbf03cffcc90a7ae203",
        "b14fa5b858a6351129c09c3617cbb997f434dffd16f662dea4218e0e1b999cec",
    ),
}
PLAIN = (
    f'{HEAD}from millstream import Labels, Source, Stream\nstream = Stream(name="s", task="binary", model=dict, %s)\n'
)


def carried(text: str) -> LoadedStream:
    """Run a stream file as the code that a version carries."""
    code = Code(module="odd", files={"odd.py": text}, definition="", contract=Contract(), target=Target(task="binary"))
    return run_code(code)


def hashes(loaded: LoadedStream) -> tuple[str, str]:
    definition = definition_of(loaded)
    return definition.hash, definition.contract


def made(**given: Any) -> Stream:
    return Stream(name="s", task="binary", model=linear_model.LogisticRegression, **given)


# --- one definition -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ready_made())
def test_ready_made_streams_are_of_the_definition_that_they_had(name: str) -> None:
    assert hashes(load_stream(name)) == BEFORE[name]


@pytest.mark.parametrize("name", ODD)
def test_the_spelling_of_a_stream_is_no_part_of_its_definition(tmp_path: Path, name: str) -> None:
    old = carried(ODD[name].old)
    new = load_stream(write(tmp_path, ODD[name].new, "odd.py"))
    assert old.definition_text == new.definition_text
    assert hashes(old) == hashes(new) == BEFORE.get(name, hashes(new))


def test_a_version_that_carries_old_names_has_the_stream_that_they_meant(tmp_path: Path) -> None:
    old = carried(EVERY_PARAMETER.old).stream
    new = load_stream(write(tmp_path, EVERY_PARAMETER.new, "odd.py")).stream
    for name in GROUPS:
        assert getattr(old, name) == getattr(new, name) != GROUPS[name](), f"{name} is not as it was"
    assert (old.contract, old.target, old.dedup_window_ms) == (new.contract, new.target, new.dedup_window_ms)


def test_each_old_name_is_given_in_the_stream_that_has_them_all() -> None:
    assert [name for name in FLAT if f"    {name}=" not in EVERY_PARAMETER.old] == []
    assert all(group in GROUPS and name in _names(GROUPS[group]) for group, name in FLAT.values())


def _names(kind: Any) -> set[str]:
    return {each.name for each in fields(kind)}


# --- old names ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FLAT)
def test_a_stream_file_with_an_old_name_is_told_the_new_one(tmp_path: Path, name: str) -> None:
    group, parameter = FLAT[name]
    path = write(tmp_path, PLAIN % f"{name}=None")
    with pytest.raises(LoadError) as refused:
        load_stream(path)
    now = f"{group}={GROUPS[group].__name__}({parameter}=…)"
    assert str(refused.value) == f"{path}:5: InvalidStream: Stream: {name}= is now {now}"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ('labels=Source(topic="t")', "labels=Source(…) is now labels=Labels(sources=Source(…))"),
        ("labels=()", "labels=Source(…) is now labels=Labels(sources=Source(…))"),
        (
            'label_wait="7d", window=5, labels=[Source(topic="t")]',
            "label_wait=, labels=Source(…) are now labels=Labels(wait=…, sources=Source(…)); "
            "window= is now evaluation=Evaluation(window=…)",
        ),
        ('wait="7d"', "wait= belongs in labels=Labels(wait=…)"),
        ("labels=Labels(), on_timeout=False", "on_timeout= is now labels=Labels(on_timeout=…)"),
    ],
)
def test_all_that_is_spelled_otherwise_now_is_one_line(tmp_path: Path, given: str, said: str) -> None:
    path = write(tmp_path, PLAIN % given)
    with pytest.raises(LoadError) as refused:
        load_stream(path)
    assert str(refused.value) == f"{path}:5: InvalidStream: Stream: {said}"


def test_on_the_command_line_it_is_one_line_and_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MILLSTREAM_HOME", str(tmp_path / "home"))
    path = write(tmp_path, PLAIN % 'label_wait="7d"')
    assert run(["check", path]) == 1
    said = capsys.readouterr()
    lines = (said.out + said.err).strip().splitlines()
    assert len(lines) == 1
    assert lines[0].endswith(f"{path}:5: InvalidStream: Stream: label_wait= is now labels=Labels(wait=…)")


def test_old_names_are_taken_in_a_versions_code_only_while_it_is_run() -> None:
    assert carried(EVERY_PARAMETER.old).stream.labels.wait == "30d"
    with pytest.raises(InvalidStream, match="label_wait= is now"):
        made(label_wait="7d")
    with pytest.raises(Exception, match="window=0 must be a whole number"):
        carried(PLAIN % "window=0")
    with pytest.raises(InvalidStream, match="label_wait= is now"):
        made(label_wait="7d")


# --- what a group refuses -----------------------------------------------------------------------------------

WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "no span": (lambda: Labels(wait="soon"), "Labels: wait='soon' is not a duration; write a number and ms, s, m"),
    "a span of another type": (lambda: Labels(wait=[1]), "Labels: wait=[1] must be a span of time, such as '30m'"),
    "no span at all": (lambda: Labels(wait=None), "Labels: wait=None must be a span of time"),
    "an endless span": (lambda: Join(snapshot_every=float("inf")), "Join: snapshot_every=inf must be a span of time"),
    "a negative span": (lambda: Join(dedup_window=-1), "Join: dedup_window=-1 is negative"),
    "a topic's name": (lambda: Labels(sources="t"), "Labels: sources='t' must be a Source, such as Source(topic='t')"),
    "a number of sources": (lambda: Labels(sources=3), "Labels: sources=3 must be a Source"),
    "a dict": (lambda: Labels(sources={"topic": "t"}), "must be a Source, such as Source(topic='...')"),
    "something among sources": (lambda: Labels(sources=["t"]), "Labels: sources='t' must be a Source, or several"),
    "another word": (lambda: Validation(unknown="keeps"), "Validation: unknown='keeps' must be one of keep, drop"),
    "another bound": (lambda: Validation(bounds=None), "bounds=None must be one of off, warn, dead-letter"),
    "no features": (lambda: Validation(max_features=0), "max_features=0 must be a whole number, at least 1"),
    "no number": (lambda: Evaluation(window="many"), "Evaluation: window='many' must be a whole number, at least 1"),
    "metrics": (lambda: Evaluation(metrics=linear_model), "must be a function that returns new metrics, such as"),
    "a boolean": (lambda: Checkpoints(examples=True), "Checkpoints: examples=True must be a whole number"),
    "half a byte": (lambda: Checkpoints(max_bytes=0.5), "Checkpoints: max_bytes=0.5 must be a whole number"),
    "how many": (
        lambda: Checkpoints(keep=20),
        "keep=20 must be Retention(...), such as Retention(last=20)",
    ),
    "a format": (lambda: Predictions(format="xml"), "Predictions: format='xml' must be one of avro, json, registry"),
    "yes": (lambda: Predictions(features="yes"), "Predictions: features='yes' must be one of True, False"),
    "nobody": (lambda: Predictions(cloudevents=" "), "Predictions: cloudevents=' ' must say who sends them"),
    "a source of events": (lambda: Predictions(cloudevents=3), "Predictions: cloudevents=3 must say who sends them"),
    "too much that waits": (lambda: Join(max_pending=-1), "Join: max_pending=-1 must be a whole number, at least 1"),
    "almost a name": (lambda: Checkpoints(evry="1s"), "Checkpoints: there is no evry=; did you mean every=?"),
    "an old name": (lambda: Labels(label_wait="1d"), "Labels: there is no label_wait=; did you mean wait=?"),
    "no name": (lambda: Labels(colour=1), "Labels: there is no colour=; there are wait=, on_timeout=, sources="),
    "no name at all": (lambda: Labels("1d"), "Labels: name what it is given, such as Labels(wait=...)"),
    "almost a group": (lambda: made(label=1, lables=Labels()), "Stream: there is no lables=; did you mean labels=?"),
    "another group": (
        lambda: made(join=Labels()),
        "must be Join(...), such as join=Join(max_pending=1_000_000)",
    ),
    "a dict for a group": (
        lambda: made(labels={"wait": "1d"}),
        "Stream: labels={'wait': '1d'} must be Labels(...), such as labels=Labels(wait='7d')",
    ),
    "a span for a group": (
        lambda: made(checkpoints="5s"),
        "Stream: checkpoints='5s' must be Checkpoints(...), such as checkpoints=Checkpoints(every='30s')",
    ),
}


@pytest.mark.parametrize(("make", "said"), WRONG.values(), ids=WRONG.keys())
def test_what_a_group_cannot_be_is_one_line(make: Callable[[], object], said: str) -> None:
    with pytest.raises(InvalidStream) as refused:
        make()
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_no_label_means_nothing_where_events_are_learned() -> None:
    with pytest.raises(InvalidStream, match=r"labels=Labels\(on_timeout=…\) has no meaning with learn_from='events'"):
        Stream(name="s", task="anomaly", model=dict, learn_from="events", labels=Labels(on_timeout=False))


def test_what_is_not_given_is_as_it_was() -> None:
    stream = made()
    assert (stream.labels.wait_ms, stream.dedup_window_ms) == (86_400_000, 86_400_000)
    assert stream.checkpoints.pace() == (0.5, 50_000)
    assert stream.checkpoints.pace(remote=True) == (30.0, sys.maxsize)
    assert Checkpoints(every="2s", examples=7).pace(remote=True) == (2.0, 7)
    assert (stream.join.max_pending, stream.join.snapshot_every_ms) == (5_000_000, 300_000)
    assert made(labels=Labels(wait="2d"), join=Join(dedup_window="1h")).dedup_window_ms == 3_600_000


def test_one_source_is_as_good_as_several() -> None:
    source = Source(topic="chargebacks", id="ref", value="status")
    assert Labels(sources=source).each_source == Labels(sources=[source]).each_source == (source,)


def test_every_group_is_a_public_name() -> None:
    assert {kind.__name__ for kind in GROUPS.values()} <= set(millstream.__all__)
    for name in millstream.__all__:
        assert getattr(importlib.import_module("millstream"), name).__name__ == name
    assert _names(Stream) >= set(GROUPS)
    # `calendar` is one object as the groups are, but there is none by default; several models and monitoring have four
    # parameters each; batch models have two.
    several, watched = {"models", "promote", "slices", "shadow_share"}, {"watch", "alerts", "notify", "metrics_from"}
    assert len(_names(Stream) - set(GROUPS) - {"calendar", "batch", "prepare"} - several - watched) <= 12, (
        "what a first stream can do without belongs into a group"
    )
