"""Demo of the whole loop on this machine, learning from a real data set: `millstream demo`."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from consumers.predictor.offset_metadata import PredictorMetadata
from consumers.roles import JOINER, LEARNER, MONITOR, PREDICTOR
from millstream.config.settings import Settings
from millstream.demo import challenger, drift, render
from millstream.demo.render import Scene
from millstream.processes import run_stream
from millstream.processes.broker_outage import Outage
from millstream.processes.idle_watch import IdleWatch
from millstream.processes.supervisor import Supervisor
from millstream.scaffold.open_data import source_of
from millstream.status.report import labels, progress, served
from millstream.status.snapshot import Observer, StreamSnapshot
from millstream.topics.delete_stream import forget
from model_store import ModelStore, StoreError, open_store
from producers.file_formats import RowSource
from producers.publisher import PublishOptions, PublishReport, publish
from runtime.exits import INTERRUPTED, OK
from runtime.kafka_client.cluster import Cluster, NoBroker
from runtime.kafka_client.errors import KafkaError
from schemas.model_names import MAIN
from schemas.topics import Names

if TYPE_CHECKING:
    from millstream.demo.serving import Served
    from millstream.stream.load import LoadedStream
    from millstream.stream.stream import Stream

_PREDICTORS: Final = 2
_LABEL_DELAY_EVENTS: Final = 50
_SECONDS: Final = 20.0
_SECONDS_OF_DRIFT: Final = 60.0  # windows are a second long, and a reference needs some
_SECONDS_OF_SEVERAL: Final = 60.0  # each learner writes fewer versions, and a contest needs some
_READY_S: Final = 120.0
_SETTLE_S: Final = 60.0
_OUTAGE_S: Final = 120.0
_LOOK_S: Final = 0.25
_LINE_S: Final = 2.0
_QUIET_S: Final = 1.0


class DemoFailed(Exception):  # noqa: N818
    """The demo cannot continue; the message gives the reason."""


@dataclass(frozen=True)
class DemoOptions:
    """Options of one demo.

    Attributes
    ----------
    rate
        Events a second; `None` is what takes about 20 s.
    print_json
        Takes the result, in place of text for people.
    served
        Options of a server beside the other roles; then the demo goes on until it is told to stop.
    """

    file: str | None = None
    rate: float | None = None
    print_json: Callable[[Any], None] | None = None
    served: Served | None = None


def run(name: str, settings: Settings, options: DemoOptions) -> int:
    """Run the loop on a ready-made stream and show it; return the exit code.

    Raises
    ------
    DemoFailed
        If the stream's data is missing, or the demo does not finish.
    """
    loaded, source, place = _subject(name, options.file)
    drifts = name == drift.STREAM
    source = drift.DriftingRows(source) if drifts else source
    stream = loaded.stream
    say = _Log(settings.home / "logs" / f"demo-{name}.log")
    tell: Callable[[str], None] = (
        (lambda line: print(line, file=sys.stderr, flush=True)) if options.print_json else print
    )
    names = settings.names(stream)
    with say, run_stream.alone(settings.state(names)), run_stream.stopping() as stop:
        cluster = run_stream.meet(settings, tell)
        children = run_stream.children(name, names, _PREDICTORS, left_out=() if drifts else (MONITOR,))
        forget(cluster, settings, names, [(child.role, child.instance) for child in children])
        run_stream.prepare(cluster, names, stream, tell)
        if options.served is not None:
            children += options.served.children(settings, names)
        tell(f"starting {_roles(stream)}; their output is in {say.path}")
        outage = Outage(cluster, say)
        supervisor = Supervisor(children, run_stream.environment(settings), say, outage.lasts, needs_all=True)
        show = _Show(stream, cluster, names, settings, source, options, stop)
        with run_stream.kept(settings, tell):
            try:
                supervisor.start()
                ready_s = _await_ready(supervisor, say, stop)
                found = None if stop.is_set() else show.play(supervisor, ready_s)
                if found is not None:
                    if stream.models:
                        found["models"] = challenger.look_back(loaded, cluster, names, settings)
                    if drifts:
                        found["drift"] = drift.look_back(loaded, cluster, names, settings)
                    _tell_result(found, name, place, settings, options)
                if found is not None and options.served is not None:
                    _serve_on(supervisor, options.served, source, stop)
            finally:
                supervisor.stop()
    return INTERRUPTED if found is None else OK


def _tell_result(found: dict[str, Any], name: str, place: str, settings: Settings, options: DemoOptions) -> None:
    if options.print_json is not None:
        options.print_json(found)
    else:
        end = "millstream broker stop" if settings.bootstrap is None else None
        print(render.closing_words(found, name, place, end), flush=True)
        if "models" in found:
            print("\n".join(challenger.words(found["models"], name)), flush=True)
        if "drift" in found:
            print("\n".join(drift.words(found["drift"], name)), flush=True)


def _roles(stream: Stream) -> str:
    """Return the processes that are started, in words."""
    learners = " and ".join(f"of {name}" for name in (MAIN, *stream.models)) if stream.models else ""
    beside = ", a shadow role, a judge and a referee" if stream.models else ""
    beside += ", and a monitor" if stream.name == drift.STREAM else ""
    return f"{_PREDICTORS} predictors, a joiner and a learner {learners}".rstrip() + beside


def _serve_on(supervisor: Supervisor, served: Served, source: RowSource, stop: threading.Event) -> None:
    """Print commands to try, and keep everything running until told to stop."""
    print("\nThe model answers over HTTP until Ctrl-C. Try it:\n")
    print("\n".join(f"  {command}" for command in served.commands(source)), flush=True)
    while not stop.wait(_LOOK_S):
        supervisor.look()


def _subject(name: str, file: str | None) -> tuple[LoadedStream, RowSource, str]:
    from millstream.stream.load import load_stream
    from schemas.topics import NAME

    if not NAME.fullmatch(name) or Path(name).is_file():
        raise DemoFailed(f"{name!r} is no ready-made stream; `millstream run {name}` runs one of your own")
    loaded = load_stream(name)
    place = file or loaded.source
    if place is None:
        raise DemoFailed(f"the data of {name} does not come with River: name it with --file {name}.csv")
    return loaded, source_of(loaded.stream, place), place


def _await_ready(supervisor: Supervisor, log: _Log, stop: threading.Event) -> float:
    """Wait until every role has its partitions; return the seconds it took."""
    began = time.monotonic()
    while not supervisor.ready() and not stop.wait(0.05):
        supervisor.look()
        if time.monotonic() - began > _READY_S:
            raise DemoFailed(f"the roles are not ready after {_READY_S:g} s; see {log.path}")
    return time.monotonic() - began


class _Log:
    """Writes the roles' lines to a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._file: TextIO | None = None

    def __enter__(self) -> _Log:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("w")
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def __call__(self, line: str) -> None:
        with self._lock:
            if self._file is not None:
                self._file.write(f"{time.strftime('%H:%M:%S')} {line}\n")
                self._file.flush()


class _Show:
    """Publishes events, and shows the stream's state until all of them are learned."""

    def __init__(
        self,
        stream: Stream,
        cluster: Cluster,
        names: Names,
        settings: Settings,
        source: RowSource,
        options: DemoOptions,
        stop: threading.Event,
    ) -> None:
        self._cluster, self._names, self._stop = cluster, names, stop
        self._source, self._json = source, options.print_json is not None
        self._store: ModelStore = open_store(settings.models, settings.keys, sign=False)
        self._total = source.count() or 0
        seconds = _SECONDS_OF_SEVERAL if stream.models else _SECONDS
        if stream.name == drift.STREAM:
            seconds = _SECONDS_OF_DRIFT
        self._rate = options.rate or max(1.0, self._total / seconds)
        self._published: PublishReport | None = None
        self._failure: BaseException | None = None
        self._delays: dict[int, int] = {}
        self._first: float | None = None
        self._metrics: tuple[str | None, dict[str, Any]] = (None, {})
        self._began = 0.0
        self._observer: Observer | None = None

    def play(self, supervisor: Supervisor, ready_s: float) -> dict[str, Any] | None:
        """Return the summary, `None` if the demo was stopped."""
        quiet = threading.Event()
        sender = threading.Thread(target=self._send, args=(quiet,), name="publisher")
        self._began = time.monotonic()
        sender.start()
        try:
            with _screen(self._json) as show:
                snapshot = self._watch(supervisor, show)
        finally:
            quiet.set()
            sender.join()
            self._close()
        if snapshot is None:
            return None
        scene = self._scene(snapshot)
        delays = [self._delays[at] for at in sorted(self._delays)]
        return render.summary(scene, delays, labels(snapshot), ready_s, self._first, self._rate)

    def _send(self, stop: threading.Event) -> None:
        options = PublishOptions(rate=self._rate, label_delay_events=_LABEL_DELAY_EVENTS)
        try:
            self._published = publish(self._cluster, self._names, self._source, options, stop=stop)
        except Exception as error:  # noqa: BLE001 - the main thread raises it again
            self._failure = error

    def _watch(self, supervisor: Supervisor, show: Callable[[Scene], None]) -> StreamSnapshot | None:
        idle, deadline, patience = IdleWatch(_QUIET_S), math.inf, math.inf
        while not self._stop.wait(_LOOK_S):
            supervisor.look()
            if self._failure is not None:
                raise self._failure
            snapshot = self._look()
            if snapshot is None:
                # The broker is being started again, and the time that this takes does not count.
                idle, deadline = IdleWatch(_QUIET_S), math.inf
                patience = min(patience, time.monotonic() + _OUTAGE_S)
                if time.monotonic() > patience:
                    raise DemoFailed(f"no Kafka has answered at {self._cluster.bootstrap} for {_OUTAGE_S:g} s")
                continue
            patience = math.inf
            self._note(snapshot)
            show(replace(self._scene(snapshot), note=self._restarts(supervisor)))
            # The state that a role left before it was restarted must not count before it works again.
            idle = idle if supervisor.ready() else IdleWatch(_QUIET_S)
            # An alert may have paused learning.
            done = idle.note(snapshot, time.monotonic()) in ("done", "paused") and supervisor.ready()
            if self._published is None:
                continue
            if done:
                return snapshot
            deadline = min(deadline, time.monotonic() + _SETTLE_S)
            if time.monotonic() > deadline:
                lags = ", ".join(f"{role} {snapshot.lag(role)}" for role in snapshot.roles)
                raise DemoFailed(f"not all is read {_SETTLE_S:g} s after the last event (lag: {lags})")
        return None

    def _look(self) -> StreamSnapshot | None:
        """Return the stream's state, `None` while no Kafka answers."""
        try:
            self._observer = self._observer or Observer(self._cluster, self._names)
            return self._observer.look()
        except (KafkaError, NoBroker):
            self._close()
            return None

    def _close(self) -> None:
        if self._observer is not None:
            self._observer.close()
            self._observer = None

    def _note(self, snapshot: StreamSnapshot) -> None:
        """Record the delay of each new version, and the time of the first prediction."""
        for each in snapshot.beside(PredictorMetadata):
            if isinstance(each.delay_ms, int) and isinstance(each.since_ms, int):
                self._delays[each.since_ms] = each.delay_ms
        if self._first is None and progress(snapshot, PREDICTOR):
            self._first = time.monotonic() - self._began

    def _scene(self, snapshot: StreamSnapshot) -> Scene:
        model = served(snapshot)
        return Scene(
            stream=self._names.stream,
            seconds=time.monotonic() - self._began,
            total=self._total,
            events=sum(end for place, end in snapshot.ends.items() if place[0] == "features"),
            predictions=progress(snapshot, PREDICTOR),
            joined=progress(snapshot, JOINER),
            learned=progress(snapshot, LEARNER),
            version=model.served,
            versions=len(self._store.versions(self._names.stream)),
            delay_ms=model.delay_ms,
            lag={role: snapshot.lag(role) for role in (PREDICTOR, JOINER, LEARNER)},
            metrics=self._newest_metrics(model.newest),
        )

    def _newest_metrics(self, version: str | None) -> dict[str, Any]:
        """Return the newest version's metrics; each version's are read once."""
        if version is not None and version != self._metrics[0]:
            from model_store import VersionId

            try:
                manifest = self._store.manifest(VersionId.parse(version, self._names.stream))
            except StoreError:
                return self._metrics[1]  # retention deleted it meanwhile; the next version will follow
            self._metrics = (version, manifest.metrics)
        return self._metrics[1]

    @staticmethod
    def _restarts(supervisor: Supervisor) -> str:
        return f"{supervisor.restarts} restarts" if supervisor.restarts else ""


@contextmanager
def _screen(as_json: bool) -> Iterator[Callable[[Scene], None]]:
    """Yield a function that shows a scene: a live picture on a terminal, else a line from time to time."""
    if sys.stdout.isatty() and not as_json:
        from rich.live import Live

        with Live(refresh_per_second=8) as screen:
            yield lambda scene: screen.update(render.live(scene))
        return
    stream, told = (sys.stderr if as_json else sys.stdout), [0.0]

    def show(scene: Scene) -> None:
        if time.monotonic() - told[0] >= _LINE_S:
            told[0] = time.monotonic()
            print(render.line(scene), file=stream, flush=True)

    yield show
