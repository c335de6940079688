"""A range of the examples log is learned into a new epoch, and the learner goes on from there."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from broker.commands import Run
from broker.phishing_loop import EVENTS, broken, looping, serve
from river import datasets
from whole_loop import WholeLoop


@pytest.mark.parametrize("begin", ["", "25"])
def test_a_range_is_learned_and_the_learner_goes_on_at_its_place_without_a_gap_or_a_repeat(
    run: Run, bootstrap: str, prefix: str, tmp_path: Path, begin: str
) -> None:
    with looping(bootstrap, prefix, tmp_path) as loop:
        serve(loop, 2)
        code, told, errors = run("backfill", "phishing", "--learn", *(("--from", begin) if begin else ()))
        assert code == 0, errors
        made = told["learned"]
        assert told["version"] == f"2/{made}"
        loop.wait_until(lambda: loop.store.versions("phishing")[-1].epoch == 2, "the learner goes on from it")
        live = sum(not broken(number) for number in range(2 * EVENTS))
        left_out = live - made
        assert (left_out > 0) == bool(begin)
        serve_more(loop, made)
        newest = loop.store.versions("phishing")[-1]
        examples = loop.examples()
    assert (newest.epoch, newest.examples) == (2, len(examples) - left_out)
    code, told, errors = run("models", "verify", "phishing", str(newest))
    assert (code, told["holds"]) == (0, True), errors


def serve_more(loop: WholeLoop, made: int) -> None:
    """Send one more wave, and wait until the new epoch has learned it."""
    rows = [*itertools.islice(datasets.Phishing(), 400)]
    for number in range(200, 230):
        loop.event(f"e{number}", rows[number][0])
        loop.label(f"e{number}", bool(rows[number][1]))
    loop.wait_until(lambda: loop.learned() == made + 30, "the new epoch learns what came since")
