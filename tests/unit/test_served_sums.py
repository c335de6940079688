"""Sums of served answers: River's own values, whatever the windows, in any grouping."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import metrics

from consumers.model.baselines import KnownLabels
from consumers.monitor.served import ServedRules, ServedSums, Value, measures, merge_served, values
from consumers.monitor.served.carried_labels import MOST_BYTES, CarriedLabels
from consumers.monitor.served.facets import DELAYS, NO_LABEL
from consumers.monitor.served.groups import ALL, Sums, decoded, labelled_in
from consumers.monitor.served.groups import MOST_BYTES as MOST_GROUP_BYTES
from schemas.events import Event, Example, Failure, Joined, Label, LabelValue, Lane, Outcome
from schemas.profiles import ServedGroup, Window, read_window
from schemas.target import Target, Task, class_key

MINUTE = 60_000
HOUR = 60 * MINUTE
SPAN = 5 * MINUTE
SPELLED = {"0": 0, "1": 1, "2": "2"}


def served(
    number: int, label: LabelValue | None, prediction: LabelValue | None, shares: dict[str, float] | None, **more: Any
) -> Example:
    """Return an example that was served; its label comes a few minutes after the prediction."""
    predicted = 1_000_000_000_000 + number * 1000
    delay = more.get("delay", (number * 7919) % 400 * 1000)
    error = Failure("model", "it raised") if more.get("failed") else None
    source, kind, model = more.get("source", "system"), more.get("kind", "label"), more.get("model", "fraud")
    epoch = 1 + number // 150
    return Example(
        Event(f"e{number}", predicted, {"amount": float(number % 5), "country": more.get("country", "DE")}),
        Outcome(prediction, shares, model, epoch, number, predicted, "f", 0, number, error),
        None if label is None else Label(f"e{number}", label, predicted, 1.0, source, kind),
        Lane("live", "", number),
        Joined(0, number, predicted, -1 if source == "timeout" else number, predicted + delay),
    )


def binary(count: int, seed: int = 1) -> list[Example]:
    rng = random.Random(seed)
    found = []
    for number in range(count):
        share, country = rng.random(), rng.choice(("DE", "FR", "IT"))
        found.append(
            served(number, rng.random() < share, share > 0.5, {"true": share, "false": 1 - share}, country=country)
        )
    return found


def multiclass(count: int, seed: int = 2) -> list[Example]:
    rng = random.Random(seed)
    found = []
    for number in range(count):
        shares = [rng.random() for _ in range(3)]
        probabilities = {str(at): share / sum(shares) for at, share in enumerate(shares)}
        said = max(probabilities, key=probabilities.__getitem__)
        label = "2" if number == 0 else rng.choice((0, 1, 2, "2"))  # 2 and "2" are one class
        found.append(served(number, label, SPELLED[said], probabilities))
    return found


def regression(count: int, seed: int = 3, around: float = 0.0) -> list[Example]:
    rng = random.Random(seed)
    labels = [around + rng.gauss(0, 1) for _ in range(count)]
    return [served(n, label, label + rng.gauss(0, 0.3), None) for n, label in enumerate(labels)]


def anomaly(count: int, seed: int = 4) -> list[Example]:
    rng = random.Random(seed)
    return [served(n, rng.random() < score, score, None) for n, score in ((n, rng.random()) for n in range(count))]


TASKS: dict[Task, Callable[[int], list[Example]]] = {
    "binary": binary,
    "multiclass": multiclass,
    "regression": regression,
    "anomaly": anomaly,
}


def rules(task: Task, **more: Any) -> ServedRules:
    return ServedRules(Target(task=task), SPAN, lambda features: {"country": str(features["country"])}, **more)


def windows_of(examples: Sequence[Example], cuts: Sequence[int], task: Task, **more: Any) -> list[list[ServedGroup]]:
    """Return the groups of the windows that end at these places; each goes on with the state of the one before."""
    found, state = [], b""
    for begin, end in pairwise([0, *cuts, len(examples)]):
        sums = ServedSums(rules(task, **more), state)
        for at in range(begin, end, 17):
            some = examples[at : min(at + 17, end)]
            sums.add(some, [0] * len(some))
        groups, state = sums.finish()
        assert len(state) <= MOST_BYTES
        found.append(groups)
    return found


def window(groups: list[ServedGroup]) -> Window:
    return Window("examples", "t", 0, 0, 1, 0, SPAN, 0, 0, 1, {}, {}, 0, None, groups)


def of(groups: Sequence[ServedGroup], group: tuple[str, str] = ALL) -> Sums:
    return decoded(groups)[group]


def measured(examples: Sequence[Example], task: Task) -> dict[str, float]:
    """Return what River's metrics say of the served answers, one by one in the order of the log."""
    made = measures.measures_of(task)
    for each in examples:
        assert each.outcome is not None
        assert each.label is not None
        truth, said, shares = each.label.value, each.outcome.prediction, each.outcome.probabilities or {}
        truth = "2" if truth == 2 else truth
        for metric in made:
            if isinstance(metric, metrics.ROCAUC | metrics.LogLoss):
                metric.update(truth, shares.get("true", said))
            elif isinstance(metric, metrics.CrossEntropy):
                metric.update(truth, {SPELLED[key]: share for key, share in shares.items()})
            else:
                metric.update(truth, said)
    return dict(zip(measures.names_of(task), (metric.get() for metric in made), strict=True))


@pytest.mark.parametrize("task", TASKS)
def test_values_equal_rivers_over_the_same_examples(task: Task) -> None:
    examples = TASKS[task](700)
    merged = merge_served(windows_of(examples, [1, 255, 256, 511], task), HOUR)
    found = values([window(merged)], task)
    expected = measured(examples, task)
    means = {"log_loss", "mae", "rmse", "r2"}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].count == 700
        if name in means:
            assert found[name].value == pytest.approx(value, rel=1e-9), name
        else:
            assert found[name].value == value, f"{name}: a count must be the same to the last digit"


@settings(max_examples=12)
@given(
    task=st.sampled_from(sorted(TASKS)),
    cuts=st.lists(st.integers(1, 399), max_size=8, unique=True).map(sorted),
    order=st.randoms(use_true_random=False),
)
def test_any_windows_in_any_grouping_give_the_same(task: Task, cuts: list[int], order: random.Random) -> None:
    examples = TASKS[task](400)
    (whole,) = windows_of(examples, [], task)
    parts = windows_of(examples, cuts, task)
    order.shuffle(parts)
    while len(parts) > 1:
        some = [parts.pop() for _ in range(min(len(parts), order.randint(2, 3)))]
        parts.insert(order.randint(0, len(parts)), merge_served(some, SPAN))
    merged = merge_served(parts, SPAN)
    assert labelled_in(merged) == labelled_in(whole)
    ours, theirs = decoded(merged), decoded(whole)
    assert ours.keys() == theirs.keys()
    for group, sums in theirs.items():
        assert ours[group].labels == sums.labels
        for source, totals in sums.totals.items():
            assert ours[group].totals[source] == pytest.approx(totals, rel=1e-9, abs=1e-9), (group, source)


def test_squares_of_large_numbers_keep_what_they_differ_in() -> None:
    examples = regression(400, around=1e9)
    merged = merge_served(windows_of(examples, [100, 200, 300], "regression"), HOUR)
    assert values([window(merged)], "regression")["r2"].value == pytest.approx(measured(examples, "regression")["r2"])


def test_baselines_are_those_that_were_known_at_the_prediction() -> None:
    examples = binary(300)
    merged = merge_served(windows_of(examples, [40, 41, 170], "binary"), HOUR)
    came: list[tuple[int, bool]] = []
    right = {"last_label": 0, "frequencies": 0}
    asked = 0
    for each in examples:
        assert each.joined is not None
        assert each.label is not None
        # A label that comes after a later one on the log counts as coming with it.
        known, latest = [], 0
        for time, value in came:
            latest = max(latest, time)
            if latest <= each.joined.prediction_time:
                known.append(value)
        if known:
            asked += 1
            right["last_label"] += known[-1] == each.label.value
            counts = {
                value: known.count(value) for value in dict.fromkeys(value for _, value in came) if value in known
            }
            right["frequencies"] += max(counts, key=counts.__getitem__) == each.label.value
        came.append((each.joined.label_time, bool(each.label.value)))
    found = of(merged)
    for source, count in right.items():
        accuracy = measures.values("binary", found.totals[source])["accuracy"]
        assert accuracy == count / asked, source
        assert found.totals[source]["decided",] == asked


def test_only_served_answers_with_a_label_count() -> None:
    answered = served(1, True, True, {"true": 0.9, "false": 0.1}, delay=30_000)
    others = [
        served(2, None, True, None),
        served(3, True, None, None, failed=True),
        served(4, False, True, None, kind="correction"),
        served(5, "perhaps", True, None),
        Example(answered.event, None, answered.label, answered.lane, None),
    ]
    (groups,) = windows_of([answered, *others], [], "binary")
    assert of(groups).labels == 1
    assert of(groups).totals["served"]["decided",] == 1
    assert labelled_in(groups).total() == 1


def test_an_answer_for_want_of_a_label_is_a_group_of_its_own_and_no_coverage() -> None:
    examples = [
        served(1, False, True, None, source="timeout", delay=HOUR),
        served(2, False, False, None, delay=2 * HOUR),
    ]
    (groups,) = windows_of(examples, [], "binary")
    found = decoded(groups)
    assert {value for facet, value in found if facet == "delay"} == {NO_LABEL, "up to 6h"}
    assert found["delay", NO_LABEL].labels == 1
    assert labelled_in(groups) == {examples[1].joined.prediction_time // SPAN * SPAN: 1}  # type: ignore[union-attr]


def test_groups_by_epoch_delay_and_slice() -> None:
    examples = binary(300)
    merged = merge_served(windows_of(examples, [99], "binary"), HOUR)
    found = decoded(merged)
    assert {group: found[group].labels for group in found if group[0] == "epoch"} == {
        ("epoch", "fraud:1"): 150,
        ("epoch", "fraud:2"): 150,
    }
    assert sum(sums.labels for (facet, _), sums in found.items() if facet == "delay") == 300
    assert {value for facet, value in found if facet == "delay"} <= {*DELAYS, NO_LABEL}
    french = [each for each in examples if each.event.features["country"] == "FR"]
    sums = found["slice:country", "FR"]
    assert sums.labels == len(french)
    assert measures.values("binary", sums.totals["served"]) == pytest.approx(measured(french, "binary"))


def test_calibration_counts_scores_by_bins() -> None:
    examples = binary(500)
    found = of(merge_served(windows_of(examples, [123], "binary"), HOUR)).totals["served"]
    chosen = [each for each in examples if 0.3 <= each.outcome.probabilities["true"] < 0.4]  # type: ignore
    assert found["score_count", 3] == len(chosen)
    assert found["score_sum", 3] == pytest.approx(sum(each.outcome.probabilities["true"] for each in chosen))  # type: ignore
    assert found["score_hits", 3] == sum(each.label.value is True for each in chosen)  # type: ignore[union-attr]


def test_many_values_and_many_classes_stay_small() -> None:
    rng = random.Random(5)
    examples = [
        served(n, f"class {rng.randrange(500)}", f"class {rng.randrange(500)}", None, country=f"c{n % 3000}")
        for n in range(4000)
    ]
    right = sum(each.label.value == each.outcome.prediction for each in examples)  # type: ignore[union-attr]
    several = windows_of(examples, [2000], "multiclass")
    for groups in (*several, merged := merge_served(several, HOUR)):
        assert sum(len(text) for each in groups for text in each.sums.values()) <= MOST_GROUP_BYTES
        countries = [value for facet, value in decoded(groups) if facet == "slice:country"]
        assert len(countries) <= 101
        assert "other" in countries
        sums = [sums.labels for (facet, _), sums in decoded(groups).items() if facet == "slice:country"]
        assert sum(sums) == of(groups).labels
    assert values([window(merged)], "multiclass")["accuracy"] == Value(right / 4000, 4000)


def test_a_window_with_groups_can_be_written_and_read() -> None:
    whole = window(windows_of(binary(50), [], "binary")[0])
    assert read_window(whole.encode()) == whole


STRANGE = (
    b"",
    b"{",
    b"[]",
    b'{"numeric":true,"classes":[],"entries":[[1,2.0,3.0,1]]}',
    b'{"numeric":false,"classes":[],"entries":[[1,7]]}',
    b'{"numeric":false,"classes":[true],"entries":[[1,7,0,1]]}',
)


@pytest.mark.parametrize("state", STRANGE)
def test_a_state_that_is_none_begins_anew(state: bytes) -> None:
    sums = ServedSums(rules("binary"), state)
    sums.add(binary(20), [0] * 20)
    groups, _ = sums.finish()
    assert of(groups).labels == 20


def test_numbers_that_overflow_leave_nothing_that_is_not_finite() -> None:
    examples = [served(n, 1e308, -1e308, None) for n in range(20)]
    merged = merge_served(windows_of(examples, [10], "regression"), HOUR)
    found = values([window(merged), window(merged)], "regression")
    assert all(math.isfinite(each.value) for each in found.values())
    assert "null" not in "".join(text for each in merged for text in each.sums.values())


# --- labels that are carried -------------------------------------------------------------------------


@settings(max_examples=8)
@given(
    kind=st.sampled_from(("share", "shares", "value", "numbers")), seed=st.integers(0, 999), count=st.integers(0, 1500)
)
def test_carried_labels_answer_as_known_labels_do(kind: Any, seed: int, count: int) -> None:
    rng = random.Random(seed)
    numeric, wants = kind == "numbers", "value" if kind == "numbers" else kind
    classes: list[Any] = [True, False] if kind == "share" else ["a", "b", 3, 4]
    ours, theirs = CarriedLabels(numeric, wants), KnownLabels(numeric, wants)
    time = 1_700_000_000_000
    for number in range(count):
        time += rng.choice((-5, 0, 1, 2000))
        label = rng.gauss(0, 1) if numeric else rng.choice(classes)
        ours.add(time, label)
        theirs.add(time, label)
        asked = time - rng.randrange(0, 3_000_000)
        assert ours.graded_at(asked) == theirs.graded_at(asked)
        if number % 100 == 0:
            ours = CarriedLabels.from_json(ours.to_json(), numeric, wants)


def test_a_state_stays_small_and_knows_less_never_more() -> None:
    labels = CarriedLabels(False, "shares")
    exact = KnownLabels(False, "shares")
    rng = random.Random(1)
    for time in range(0, 3_000_000, 1000):
        label = f"a class with a long name {rng.randrange(200):03}"
        labels.add(time, label)
        exact.add(time, label)
    encoded = labels.to_json()
    assert len(encoded) <= MOST_BYTES
    again = CarriedLabels.from_json(encoded, False, "shares")
    assert again.graded_at(3_000_000) == exact.graded_at(3_000_000)
    for time in range(100, 2_900_000, 500_000):
        older = [exact.graded_at(each) for each in range(0, time + 1, 1000)]
        assert again.graded_at(time) in [((None, None), (None, None)), *older]


def test_class_names_too_long_for_a_state_begin_anew() -> None:
    labels = CarriedLabels(False, "shares")
    for number in range(200):
        labels.add(number, f"{number}" * 100)
    assert CarriedLabels.from_json(labels.to_json(), False, "shares").graded_at(10_000) == ((None, None), (None, None))
    assert class_key("x") == "x"
