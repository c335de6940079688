"""Reads and decisions of the console, by the functions that the commands call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec

from millstream.alerting.decisions import decide_alert
from millstream.alerting.open_alerts import open_rows, read_states
from millstream.reading.decision_history import read_history, served_model
from millstream.reading.decision_history import row as history_row
from millstream.reading.jobs import job_rows, whole_job
from millstream.reading.jobs import read_states as read_jobs
from millstream.reading.offset_ranges import Edge
from millstream.reading.pages import page
from millstream.status.report import Report, Typed, as_json
from millstream.status.watch import Looks
from millstream.versions import listing
from millstream.versions.decisions import decided_row, learn, promote, serve
from millstream.versions.job_requests import ask, cancel
from millstream.versions.rebuild import Workshop, adopt
from millstream.versions.rollback import previous
from millstream.versions.trace_event import trace
from model_store import ModelStore, NotFound, VersionId, open_store
from runtime.kafka_client.cluster import NoBroker
from runtime.kafka_client.errors import KafkaError
from schemas.model_names import MAIN, model_id, name_of

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.stream.load import LoadedStream
    from millstream.version_code.choice import Policy
    from schemas.alerts import AlertDecision
    from schemas.schema_registry import Registry
    from schemas.topics import Names

Row: TypeAlias = dict[str, Any]
Deed: TypeAlias = Literal["pin", "unpin", "promote", "rollback", "adopt", "pause", "resume"]
FRESH_S: Final = 1.0
"""Seconds for which a report answers further requests."""


@dataclass(frozen=True)
class Decision:
    """A decision that somebody asks for; `version` as text and `model` by its name, `None` if none was named."""

    deed: Deed
    version: str | None
    model: str | None
    by: str
    why: str


class Desk:
    """Reads and decides for one stream. All methods block; any thread may call them.

    Parameters
    ----------
    given
        The stream as the user named it.
    say
        Prints one line for the operator.
    """

    def __init__(
        self, given: Typed, loaded: LoadedStream, settings: Settings, code: Policy, say: Callable[[str], None]
    ) -> None:
        self._loaded, self._settings, self._code, self._say = loaded, settings, code, say
        self._names: Names = settings.names(loaded.stream)
        self._registry: Registry | None = settings.schema_registry(say)
        self._reports = _Reports(given, settings, self._names)

    # --- reads -------------------------------------------------------------------------------------

    def status(self) -> Row:
        """Return the report of `millstream status`, at most a second old."""
        return as_json(self._reports.newest())

    def models(self) -> list[Row]:
        """Return the versions in the store."""
        serving = self._serving()
        store = self._store()
        every = (each for model in store.models(self._names.stream) for each in listing.versions(store, model))
        return [listing.row(each, serving) for each in every]

    def model(self, version: str) -> Row:
        """Return one version. Raises InvalidVersion, NotFound or VersionRefused."""
        wanted = VersionId.parse(version, self._names.stream)
        found = listing.find(self._store(), wanted, self._settings.models)
        return listing.row(found, self._serving())

    def history(self) -> list[Row]:
        """Return all decisions, newest first."""
        return [history_row(each) for each in reversed(read_history(self._settings.cluster(), self._names))]

    def page(self, kind: Literal["alerts", "dead-letters"], limit: int, before: int | None) -> Row:
        """Return the newest rows of a topic, or those before an offset, and the offset for the page before them.

        With the newest alerts come those that are raised now, as ``open``. The whole topic is read for them, so earlier
        pages have none.
        """
        cluster = self._settings.cluster()
        rows, earlier = page(cluster, self._names, kind, limit=limit, before=before)
        found: Row = {kind.replace("-", "_"): rows, "before": earlier}
        if kind == "alerts" and before is None:
            found["open"] = open_rows(read_states(cluster, self._names))
        return found

    def jobs(self, limit: int) -> list[Row]:
        """Return the newest jobs, newest first."""
        return job_rows(read_jobs(self._settings.cluster(), self._names))[:limit]

    def job(self, job: str) -> Row:
        """Return all about one job. Raises NoSuchJob."""
        return whole_job(self._settings.cluster(), self._names, job)

    def event(self, event_id: str) -> Row:
        """Return the trace of an event. Raises NoSuchEvent."""
        cluster = self._settings.cluster()
        return asdict(
            trace(self._loaded, cluster, self._names, self._store(), event_id, self._registry, code=self._code)
        )

    def _store(self) -> ModelStore:
        return open_store(self._settings.models, self._settings.keys, sign=False)

    def _serving(self) -> str | None:
        """Return the served version; `None` if Kafka does not answer."""
        try:
            return self._reports.newest().model.served
        except (KafkaError, NoBroker):
            return None

    # --- decisions ---------------------------------------------------------------------------------

    def decide(self, wanted: Decision) -> Row:
        """Decide.

        Raises
        ------
        InvalidVersion, NotFound
            If there is no such version.
        CannotAdopt, NothingBefore, VersionRefused
            If it cannot be decided; nothing was.
        NotDecided, KafkaError, NoBroker
            If Kafka has not acknowledged the decision.
        """
        names = self._names
        version = None if wanted.version is None else VersionId.parse(wanted.version, names.stream)
        cluster, by, why = self._settings.cluster(), wanted.by, wanted.why
        if wanted.deed in ("pause", "resume"):
            model = self._model_id(wanted.model)
            update = learn(cluster, names, paused=wanted.deed == "pause", by=by, why=why, model=model)
        elif wanted.deed == "promote":
            update, version = promote(cluster, names, self._store(), self._model_id(wanted.model), by=by, why=why)
        elif wanted.deed == "adopt":
            assert version is not None  # noqa: S101 - the endpoint requires one
            loaded = self._loaded.of_model(name_of(version.model))
            with Workshop(loaded, cluster, names, self._store(), self._say, self._code) as workshop:
                workshop.insist_on_adoptable(version)
                update = adopt(cluster, names, version, by=by, why=why)
        else:
            store, model = self._store(), ""
            if version is None:
                back = wanted.deed == "rollback"
                model, version = previous(cluster, names, store) if back else (served_model(cluster, names), None)
            update = serve(cluster, names, store, version, by=by, why=why, model=model).update
        self._reports.forget()
        self._say(f"decided by {by}: {wanted.deed}{'' if version is None else f' {version}'}")
        return decided_row(names, update)

    def decide_alert(self, decision: AlertDecision, alert: str, by: str, why: str, for_ms: int | None) -> Row:
        """Acknowledge or silence an alert, or end its silence.

        Raises
        ------
        InvalidAlertName
            If no alert can have this name.
        InvalidSilence
            If it cannot be silenced for so long.
        NoSuchAlert
            If there is nothing to acknowledge or to end.
        NotDecided, KafkaError, NoBroker
            If Kafka has not acknowledged the decision.
        """
        cluster = self._settings.cluster()
        note = decide_alert(cluster, self._names, decision, alert, by=by, why=why, for_ms=for_ms)
        self._say(f"decided by {by}: {decision} {alert}")
        return {"stream": self._names.stream, **msgspec.structs.asdict(note)}

    def ask_job(self, model: str, begin: Edge, end: Edge, by: str, why: str) -> Row:
        """Ask for a training of a batch model, on a range of the examples log.

        Raises
        ------
        NoBatchModel, EmptyRange
            If it cannot be trained; nothing was asked for.
        NotDecided, KafkaError, NoBroker, MissingTopic
            If Kafka has not acknowledged it.
        """
        job = ask(self._settings.cluster(), self._names, model, by=by, why=why, begin=begin, end=end)
        self._say(f"asked for by {by}: job {job.id}")
        return {"stream": self._names.stream, "state": "asked", **msgspec.structs.asdict(job)}

    def cancel_job(self, job: str, by: str, why: str) -> Row:
        """Ask for a job to be cancelled.

        Raises
        ------
        NoSuchJob, AlreadyEnded
            If it cannot be cancelled.
        NotDecided, KafkaError, NoBroker, MissingTopic
            If Kafka has not acknowledged it.
        """
        wish = cancel(self._settings.cluster(), self._names, job, by=by, why=why)
        self._say(f"decided by {by}: cancel {job}")
        return {"stream": self._names.stream, "id": job, "model": wish.model, "state": "cancel", "by": by, "why": why}

    def _model_id(self, name: str | None) -> str:
        """Return the id of the model with this name, by default the stream's own. Raises NotFound."""
        if name not in (None, MAIN, *self._names.models):
            known = ", ".join((MAIN, *self._names.models))
            raise NotFound(f"{self._names.stream} has no model {name!r:.50}; its models are {known}")
        return model_id(self._names.stream, name or MAIN)


class _Reports:
    """The newest report, for requests that come within a second. One request looks, the others wait for it."""

    def __init__(self, given: Typed, settings: Settings, names: Names) -> None:
        self._given, self._settings, self._names = given, settings, names
        self._lock = threading.Lock()
        self._looks: Looks | None = None
        self._found: Report | KafkaError | NoBroker | None = None
        self._at = 0.0

    def newest(self) -> Report:
        """Return a report. Raises KafkaError or NoBroker."""
        with self._lock:
            if self._found is None or time.monotonic() - self._at > FRESH_S:
                self._found = self._look()
                self._at = time.monotonic()
            found = self._found
        if isinstance(found, Report):
            return found
        raise found

    def forget(self) -> None:
        """Look again for the next request."""
        self._at = 0.0

    def _look(self) -> Report | KafkaError | NoBroker:
        state = self._settings.state(self._names)
        try:
            if self._looks is None:
                cluster = self._settings.cluster()
                self._looks = Looks(cluster, self._names, self._settings.home, state, self._given)
            return self._looks.next()
        except (KafkaError, NoBroker) as error:
            self._looks = None  # the embedded broker may come back at another address
            return error
