"""Wiring of the server: its version, its endpoints, and what it writes."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, Literal

from consumers.predictor.model_feed import ModelsTopic, VersionFeed
from consumers.roles import SERVER
from millstream.observability.instrumentation import RoleInstrumentation
from millstream.observability.role_log import say
from millstream.processes import gc_tuning, role_events
from millstream.processes.forwarding import ForwardingThread, require_topics, spool_path
from millstream.processes.http_access import require_access, survive_sighup
from millstream.processes.model_process_main import starter
from millstream.status.group_metadata import spread_of
from millstream.stream.processor_rules import definition_of, predictor_settings
from millstream.version_code.choice import Policy, VersionCode
from model_store import open_store
from runtime.exits import TRY_AGAIN, RoleFailure
from runtime.kafka_client.cluster import Cluster, NoBroker, TopicInfo
from runtime.kafka_client.errors import KafkaError
from schemas.topics import Names
from server.answering.answerer import Answerer, AnswererSettings
from server.answering.pacing import Pacing
from server.answering.requests import LARGEST_EVENT
from server.answering.versions import NO_VERSION, Versions, last_served
from server.forwarder.forwarder import ForwarderSettings
from server.open_inference.endpoints import OpenInference
from server.openapi.pages import description
from server.spool.errors import SpoolUnavailable
from server.spool.spool import Spool, SpoolLimits
from server.spool.turns import Turns
from server.tokens.token_file import TokenFile
from server.uploads.folder import UPLOADS, UploadFolder
from server.uploads.receiving import Receiver, UploadLimits
from server.web.access import Access
from server.web.app import App, AppLimits
from server.web.messages import Route, Routes
from server.web.predict import PREDICT, Predict
from server.web.uploads import Uploads
from server.web.worker import Address, Health, Worker

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.stream.load import LoadedStream
    from millstream.stream.stream import Stream

_KAFKA_S: Final = 3.0
"""Seconds for which a server looks for Kafka at its start, before it begins with what it served last."""
_WAIT_S: Final = 60.0
_AGAIN_S: Final = 1.0
_SWITCH_SECONDS: Final = 0.0005
_QUICK_S: Final = 0.005  # as requests wait for the commit


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Options of a server.

    Attributes
    ----------
    workers
        Number of processes that answer; several listen at the same address.
    drain_s
        Seconds for which a worker serves on, unready, after SIGTERM.
    largest_event
        Largest event or label, in bytes, see `check_size`.
    unlogged
        True to answer also what the spool does not take.
    publish
        Way of answers to Kafka: ``spool``, ``before-answer`` by a forwarder in this process, or ``never``.
    is_worker
        True in a process that is one of several workers.
    """

    address: Address
    workers: int = 1
    drain_s: float = 0.0
    spool: SpoolLimits = field(default_factory=SpoolLimits)
    app: AppLimits = field(default_factory=AppLimits)
    uploads: UploadLimits = field(default_factory=UploadLimits)
    largest_event: int = LARGEST_EVENT
    code: Policy = "own"
    unlogged: bool = False
    publish: Literal["spool", "before-answer", "never"] = "spool"
    is_worker: bool = False

    def require(self, settings: Settings) -> None:
        """Raise NoTokens, CertificateProblem or TokenFileProblem if it must not or cannot listen like this."""
        require_access(settings, self.address, is_public=self.app.is_public, scopes="predict,label")
        if self.address.certificate is not None:
            survive_sighup()
        if not self.is_worker:
            self.address.require_free()


def run_server(
    loaded: LoadedStream, settings: Settings, instance: str, options: ServerOptions, meter: RoleInstrumentation
) -> int:
    """Answer over HTTP until told to stop; return the exit code."""
    options.require(settings)
    names = settings.names(loaded.stream)
    try:
        spool = Spool(spool_path(settings, names), options.spool)
    except SpoolUnavailable as error:
        role_events.failed(SERVER, f"{error}; free space on that disk, or make it writable (MILLSTREAM_HOME)")
        return TRY_AGAIN
    except RoleFailure as failure:
        role_events.failed(SERVER, str(failure))
        return failure.exit_code
    with closing(spool):
        return _Server(loaded, settings, names, options, spool, meter).run(instance)


class _Server:
    """One worker: its version, its answerer and its endpoints."""

    def __init__(
        self,
        loaded: LoadedStream,
        settings: Settings,
        names: Names,
        options: ServerOptions,
        spool: Spool,
        meter: RoleInstrumentation,
    ) -> None:
        self._loaded, self._settings, self._names = loaded, settings, names
        self._options, self._spool, self._meter = options, spool, meter
        self._stop = threading.Event()
        self._note = settings.state(names) / "http-last-served.json"
        # A function's copy may be older than a decision, so it waits until it has read them.
        self._last = last_served(self._note) if options.publish == "spool" else None

    def run(self, instance: str) -> int:
        cluster, spread, public = self._meet()
        options = self._options
        try:
            forwarding = self._forwarding(cluster)
        except RoleFailure as failure:
            role_events.failed(SERVER, str(failure))
            return failure.exit_code
        versions = self._versions(spread, public)
        answerer = self._answerer(spread, public)
        never = options.publish == "never"
        turns = Turns(self._spool, options.spool.sync, unlogged=options.unlogged, log_nothing=never)
        health = Health(lambda: None if versions.newest() is not None else NO_VERSION)
        self._meter.needs(health.unready)
        pacing = Pacing(answerer, health.fail)
        predict = Predict(answerer, versions, turns, pacing, options.largest_event)
        routes = server_routes(self._loaded.stream, self._names, predict, health)
        receiver = Receiver(UploadFolder(self._settings.state(self._names) / UPLOADS), options.uploads)
        uploads = Uploads(receiver, lambda: health.draining)
        access = Access(TokenFile(self._settings.tokens), required=options.app.is_public, say=say)
        app = App(routes, options.app, say, access, uploads.routes(), predict.singles)
        # As in a predictor: a thread loads versions, while this one answers.
        sys.setswitchinterval(_SWITCH_SECONDS)
        self._meter.serves(lambda: dict(app.counts.requests), self._spool.folder.size, lambda: turns.unlogged)
        self._meter.assigned(())
        threading.Thread(target=self._follow, args=(cluster, versions), name="follow", daemon=True).start()
        gc_tuning.rest()

        def turned() -> None:
            self._meter.turned()
            if forwarding is not None and forwarding.failure is not None:
                health.fail(forwarding.failure)

        say(f"{SERVER} {instance} listens at {self._options.address}")
        try:
            return Worker(app, health, options.address, options.drain_s, self._ready, turned, say).run()
        finally:
            self._stop.set()
            if forwarding is not None:
                forwarding.close()
            turns.close()
            receiver.close()
            pacing.close()
            if health.failure is None:
                say(f"{SERVER} has ended in order")
            else:
                role_events.failed(SERVER, str(health.failure))

    def _ready(self) -> None:
        spool = f"lane {self._spool.lane} of spool {self._spool.folder.id}"
        role_events.ready(
            f"ready: {self._options.address} answers for {self._names.stream}, {spool}", event="listening"
        )

    def _forwarding(self, cluster: Cluster | None) -> ForwardingThread | None:
        """Return the forwarder of this process, if it has one. Raises RoleFailure."""
        if self._options.publish != "before-answer":
            return None
        assert cluster is not None  # noqa: S101 - without a note of what served last, there is no start without Kafka
        folder = self._spool.folder
        here = ForwarderSettings(self._names, folder.id, folder.path, longest_wait_s=_QUICK_S)
        return ForwardingThread(cluster, here, say)

    def _meet(self) -> tuple[Cluster | None, int, int]:
        """Return the cluster, and the numbers of partitions that ids and public predictions are spread over.

        Without Kafka they are those of the last time; then there is no cluster yet.
        """
        patience = _KAFKA_S if self._last is not None else _WAIT_S
        until = time.monotonic() + patience
        while True:
            try:
                cluster = self._settings.cluster()
                cluster.require(max(0.0, until - time.monotonic()))
                topics = require_topics(cluster, self._names, self._loaded)
                return (
                    cluster,
                    spread_of(cluster, self._names, topics),
                    topics[self._names.topic("predictions")].partitions,
                )
            except (NoBroker, KafkaError):
                if time.monotonic() < until:
                    time.sleep(0.2)
                    continue
                if self._last is None:
                    raise
                return None, self._last.spread, self._last.public_partitions

    def _versions(self, spread: int, public: int) -> Versions:
        loaded, settings = self._loaded, self._settings
        store = open_store(settings.models, settings.keys, sign=False)
        choose = VersionCode(loaded, store, self._options.code, say).to_answer
        start = starter(loaded, settings, choose)
        feed = VersionFeed(
            store,
            definition_of(loaded),
            loaded.stream.task,
            say=say,
            start_process=start,
            meter=self._meter,
            choose=choose,
        )
        return Versions(feed, self._note, spread, public, say)

    def _answerer(self, spread: int, public: int) -> Answerer:
        stream, names = self._loaded.stream, self._names
        topics = {names.topic("predictions"): TopicInfo("", public), names.whole: TopicInfo("", spread)}
        registry = self._settings.schema_registry(say)
        rules = predictor_settings(stream, names, topics, registry=registry, spread=spread)
        source = self._spool.folder.source_topic
        events = stream.features_source
        return Answerer(
            AnswererSettings(
                names,
                stream.contract,
                stream.target,
                spread,
                rules.form,
                source,
                self._spool.lane,
                rules.mapping,
                has_ids=events is not None and bool(events.ids),
                prepare=stream.prepare,
            )
        )

    def _follow(self, cluster: Cluster | None, versions: Versions) -> None:
        """Follow the models topic; begin with what served last if it cannot be read soon."""
        if cluster is None and self._last is not None:
            versions.begin_with(self._last)
        while cluster is None:
            if self._stop.wait(_AGAIN_S):
                return
            try:
                found = self._settings.cluster()
                found.require(1.0)
                cluster = found
            except (NoBroker, KafkaError):
                continue
        follower = ModelsTopic(cluster, self._names.topic("models"), versions.follow, say, role_events.cannot_follow)
        follower.start()
        if not follower.wait_until_current(_KAFKA_S) and self._last is not None:
            versions.begin_with(self._last)
        self._stop.wait()
        follower.close()


def server_routes(stream: Stream, names: Names, predict: Predict, health: Health) -> Routes:
    """Return the routes of a server."""
    release = version("millstream")
    open_inference = OpenInference(names.stream, release, stream.contract, stream.target, predict, health.unready)
    return {
        PREDICT: {"POST": Route(predict.predict, "predict")},
        "/v1/labels": {"POST": Route(predict.labels, "label")},
        "/v1/metrics/{name}": {"POST": Route(predict.metrics, "metric")},
        **health.routes(),
        **open_inference.routes(),
        **description(names.stream, release),
    }
