"""Answer to a training request on standard input: messages on standard output, and an exit code."""

from __future__ import annotations

import os
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import msgspec

from consumers.trainer.training_messages import TRAINER_PID, TrainingFailed, TrainingMessage, TrainingRequest
from millstream.estimators.extras import missing_extras
from millstream.estimators.fitting import CannotTrain
from millstream.stream.batch import BatchModel
from millstream.stream.processor_rules import definition_of
from millstream.training.limits import Memory
from millstream.training.message_lines import Messages
from model_store import StoreUnavailable, VersionId
from model_store.keyring import PRIVATE_FILES
from model_store.pipe_frames import own_output
from runtime.descendants import end_family
from runtime.exits import OK, TRY_AGAIN
from runtime.kafka_client.cluster import NoBroker
from runtime.kafka_client.errors import KafkaError
from runtime.unreadable_files import give_up_reading

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.stream.load import LoadedStream

_read_request: Final = msgspec.json.Decoder(TrainingRequest).decode
_LOOK_SECONDS: Final = 1.0
_NO_MEMORY: Final = (
    "it asked for more memory at once than its limit: give it more (memory=), fewer rows (most=, window=), or a sparse "
    "or smaller form of its rows"
)


def answer() -> int:
    """Train as the request on standard input says; return the exit code."""
    settings = _settings()
    # Before there is a second thread, and before anything of the stream file runs.
    give_up_reading([settings.keys / name for name in PRIVATE_FILES])
    threading.Thread(target=_end_with, args=(_trainer(),), name="parent", daemon=True).start()
    out = Messages(own_output())
    try:
        out.send(_train(_read_request(sys.stdin.buffer.read()), settings, out))
    except CannotTrain as error:
        out.send(TrainingFailed(str(error)))
    except MemoryError:
        out.send(TrainingFailed(_NO_MEMORY))
    except (KafkaError, NoBroker, StoreUnavailable) as error:
        print(f"training: {error}", file=sys.stderr, flush=True)
        return TRY_AGAIN
    return OK


def _train(request: TrainingRequest, settings: Settings, out: Messages) -> TrainingMessage:
    from millstream.stream.load import LoadError, load_stream
    from millstream.training.asking_now import AskingNow
    from millstream.training.reading import collected, read_range
    from millstream.training.training import Task, train
    from millstream.training.warm_start import parent_of
    from model_store import open_store

    try:
        whole = load_stream(request.stream)
        loaded = whole.of_model(request.model)
    except LoadError as error:
        raise CannotTrain(str(error)) from error
    _insist_on_definition(loaded, request)
    stream = loaded.stream
    assert isinstance(stream.model, BatchModel)  # noqa: S101 - the job is of a batch model
    for missing in missing_extras(stream.model):  # before hours of a search
        raise CannotTrain(missing)
    cluster, names = settings.cluster(), settings.names(stream)
    parent, ask_now = None, None
    if request.parent or request.serving:
        store = open_store(settings.models, settings.keys, sign=False)
    if request.parent:
        parent = parent_of(store, VersionId.parse(request.parent, loaded.model_id), request.topic_id)
    if request.serving:
        read = partial(read_range, cluster, names, request.topic_id)
        ask_now = AskingNow(whole, store, request.topic_id, read, request.serving, _say)
    task = Task(stream, Path(request.folder), request.parameters, parent, ask_now)

    def end(why: str) -> NoReturn:
        out.send(TrainingFailed(why))
        os._exit(OK)  # whatever the other threads do

    memory = Memory(task.model.memory_bytes, end)
    memory.start()
    records = read_range(cluster, names, request.topic_id, request.begin, request.end)
    count = request.end - request.begin
    return train(task, collected(stream, task.model, records, count, memory, out.progress), memory, out.progress)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _settings() -> Settings:
    """Return the settings in the environment, which the trainer has set."""
    from millstream.config.precedence import kafka_options
    from millstream.config.settings import DEFAULT_HOME, Settings, read_config

    _, file = read_config()
    given = os.environ.get
    return Settings(
        home=Path(given("MILLSTREAM_HOME") or DEFAULT_HOME).expanduser().absolute(),
        bootstrap=given("MILLSTREAM_BOOTSTRAP") or None,
        prefix=given("MILLSTREAM_PREFIX", ""),
        kafka=kafka_options(file),
        store=given("MILLSTREAM_STORE") or None,
        client=given("MILLSTREAM_CLIENT") or Settings.client,
    )


def _insist_on_definition(loaded: LoadedStream, request: TrainingRequest) -> None:
    """Raise CannotTrain if the stream file is not what the trainer has loaded: it would sign another definition."""
    if not request.definition:
        return
    now = definition_of(loaded)
    if (now.hash, now.contract) != (request.definition, request.contract):
        raise CannotTrain(
            f"{loaded.path.name} has changed since the trainer has started, and now defines another {request.model}: "
            "start the trainer again"
        )


def _trainer() -> int:
    """Return the process that has started this one. It may have ended already: then it is no longer the parent."""
    return int(os.environ.get(TRAINER_PID) or os.getppid())


def _end_with(parent: int) -> None:
    """End this process, and all that it has started, when the trainer has ended: another one takes the job up."""
    ended = threading.Event()
    while os.getppid() == parent:
        ended.wait(_LOOK_SECONDS)
    end_family()
