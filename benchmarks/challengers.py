"""Several models on one stream: what challengers cost those who serve, and how soon a promotion takes effect."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from benchmarks.figures import Figure, Spread, percentile, ratios
from benchmarks.latency import LABEL_DELAY_EVENTS, RATE, WARM_UP_SECONDS, Arrivals, reading, send
from benchmarks.rig import Broken, Process, Rig, until
from benchmarks.role import STREAM
from benchmarks.throughput import Size
from schemas.comparisons import read_comparison
from schemas.events import read_prediction
from schemas.model_names import model_id
from schemas.topics import COMPARISONS, Names

NICE: Final = 10  # as `millstream run` gives them
_LEARNER: Final = ("learner",)
SERVE: Final = (("predictor",), ("joiner",), _LEARNER)
_BESIDE: Final = (("learner", "--model", "tree"), ("learner", "--model", "line"), ("shadow",), ("judge",))
WARM_UP_S: Final = 3.0
_COMPARED_S: Final = 120.0
_LARGE: Final = "large"
_COMPETING: Final = '''"""A champion and two challengers."""

from river import linear_model, optim, preprocessing, tree

from millstream import Model, Stream

stream = Stream(
    name="elec",
    task="binary",
    label="class",
    model=lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    models={
        "tree": Model(lambda: tree.HoeffdingAdaptiveTreeClassifier(seed=1)),
        "line": Model(lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.Adam())),
    },
)
'''
_TWO_LARGE: Final = '''"""Two models over 51,000 features, as for words or ids: 3 MB each when pickled."""

from river import linear_model, preprocessing

from millstream import Model, Stream


def large():
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    for start in range(0, 51_000, 500):
        model.learn_one({f"word-{number:07d}": 1.0 + number % 7 for number in range(start, start + 500)}, True)
    return model


stream = Stream(name="elec", task="binary", label="class", model=large, models={"large": Model(large)})
'''


def challengers(rig: Rig, size: Size) -> list[Figure]:
    """p99 from features sent to prediction readable, with and without two challengers beside the whole loop."""
    names = rig.names("challengers", ("tree", "line"))
    file = stream_file(rig, "competing.py", _COMPETING)
    none: list[list[float]] = []
    two: list[list[float]] = []
    compared = []
    publish_untrained(rig, names, file)
    with running(rig, names, file, SERVE):
        for _ in range(size.rounds):
            labelled_round(rig, names, WARM_UP_S)
            none.append(labelled_round(rig, names, size.seconds).delays())
            with running(rig, names, file, _BESIDE, NICE):
                # What the challengers have missed comes first, in the order of the log.
                _await_comparisons(rig, names, lambda: labelled_round(rig, names, WARM_UP_S))
                arrivals, took = _await_comparisons(rig, names, lambda: labelled_round(rig, names, size.seconds))
            two.append(arrivals.delays())
            compared.append(took)
    tails = [[percentile(each, 0.99) for each in rounds] for rounds in (two, none)]
    absolute = {
        "two challengers, p99 ms": Spread(tuple(tails[0])),
        "none, p99 ms": Spread(tuple(tails[1])),
        "two challengers, p50 ms": Spread(tuple(percentile(each, 0.5) for each in two)),
        "none, p50 ms": Spread(tuple(percentile(each, 0.5) for each in none)),
        "all compared after the last answer, s": Spread(tuple(compared)),
    }
    what = (
        "two challengers with learners, shadow role and judge beside the loop, labels coming: prediction latency at "
        "500 events/s, exactly once, p99 against none"
    )
    return [Figure("challengers", what, ratios(*tails), "", "at most", 1.3, absolute)]


def promote(rig: Rig, size: Size) -> list[Figure]:
    """Time from the decision to the last answer by the model that served until then."""
    names = rig.names("promote", (_LARGE,))
    file = stream_file(rig, "two_large.py", _TWO_LARGE)
    publish_untrained(rig, names, file)
    took, whole, tails = [], [], []
    with running(rig, names, file, (("predictor",),)):
        for number in range(2 * size.rounds):
            model = (_LARGE, "main")[number % 2]
            began, decided, arrivals = _promoted(rig, names, model, size.seconds)
            new = model_id(STREAM, model)
            old = [at for at, _, value in arrivals.seen if read_prediction(value).outcome.model != new]
            if not old or len(old) == len(arrivals.seen):
                raise Broken(f"not both models answered while {model} was promoted")
            took.append((max(old) - decided) / 1e9)
            whole.append((max(old) - began) / 1e9)
            tails.append(percentile(arrivals.delays(), 0.99))
    absolute = {
        "from the start of the command, s": Spread(tuple(whole)),
        "p99 meanwhile, ms": Spread(tuple(tails)),
    }
    what = "models promote, 500 events/s, models of 3 MB: decision to the last answer by the former model"
    return [Figure("promote", what, Spread(tuple(took)), "s", "at most", 1.0, absolute)]


def stream_file(rig: Rig, name: str, text: str) -> Path:
    file = rig.folder / name
    file.write_text(text)
    return file


@contextmanager
def running(
    rig: Rig, names: Names, file: Path, roles: Sequence[tuple[str, ...]], nice: int = 0
) -> Iterator[list[Process]]:
    """Run roles of a stream file, all of which are ready and must still run at the end."""
    with ExitStack() as stack:
        processes = []
        for role, *more in roles:
            process = rig.command(names, role, str(file), *more, nice=nice)
            stack.callback(process.end)
            processes.append(process)
        for process in processes:
            process.until_ready()
        yield processes
        for process in processes:
            process.require()


def publish_untrained(rig: Rig, names: Names, file: Path) -> None:
    """Have each model's learner publish and announce version 0."""
    learners = [_LEARNER, *((*_LEARNER, "--model", model) for model in names.models)]
    with running(rig, names, file, learners):
        count = len(learners)
        until(lambda: sum(rig.ends(names.topic("models")).values()) >= count, 30, "not every model has a version")


def labelled_round(rig: Rig, names: Names, seconds: float) -> Arrivals:
    """Send events and their labels for a while, and return the predictions, once all are readable."""
    labels = (names.topic("labels"), str(LABEL_DELAY_EVENTS))
    with reading(rig, names.topic("predictions")) as arrivals:
        sent = json.loads(send(rig, names.topic("features"), RATE, seconds, *labels).wait(seconds + 30))
        until(lambda: len(arrivals.seen) >= len(sent), 20, "not every prediction comes")
    return arrivals


def _await_comparisons(rig: Rig, names: Names, work: Callable[[], Arrivals]) -> tuple[Arrivals, float]:
    """Return the predictions of a round, and after how many seconds all with a label were compared.

    Raises Broken where a challenger has not answered one of them.
    """
    topic = names.topic(COMPARISONS)
    since = rig.ends(topic)
    arrivals = work()
    began = time.monotonic()
    wanted = {key.decode() for _, key, _ in sorted(arrivals.seen)[:-LABEL_DELAY_EVENTS]}
    missing = set(wanted)
    count = len(names.models)

    def all_there() -> bool:
        nonlocal since
        ends = rig.ends(topic)
        for value in rig.values(topic, since):
            shadow = read_comparison(value).shadow
            answers = [each.prediction for each in shadow.challengers if each.error is None]
            if shadow.event.event_id in wanted and len(answers) != count:
                raise Broken(f"{shadow.event.event_id}: {len(answers)} of {count} challengers answered")
            missing.discard(shadow.event.event_id)
        since = ends
        return not missing

    until(all_there, _COMPARED_S, "not every event is compared")
    return arrivals, time.monotonic() - began


def _promoted(rig: Rig, names: Names, model: str, seconds: float) -> tuple[float, float, Arrivals]:
    """Promote a model in the middle of a round.

    Returns when the command started and when the decision was about to be written (both ns of the monotonic clock, as
    the times of the predictions), and the predictions.
    """
    with reading(rig, names.topic("predictions")) as arrivals:
        sender = send(rig, names.topic("features"), RATE, seconds)
        until(lambda: bool(arrivals.seen), 30, "no prediction comes")
        time.sleep(WARM_UP_SECONDS)
        began, between = time.monotonic_ns(), time.time_ns() - time.monotonic_ns()
        words = ("models", "promote", names.stream, model, "--why", "benchmark", "--json")
        decided = json.loads(rig.command(names, *words).wait(60))["at"] * 1_000_000 - between
        sent = json.loads(sender.wait(seconds + 30))
        until(lambda: len(arrivals.seen) >= len(sent), 20, "not every prediction comes")
    return began, decided, arrivals
