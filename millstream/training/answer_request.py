"""Answer to a training request on standard input: messages on standard output, and an exit code."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import msgspec

from consumers.trainer.training_messages import TrainingFailed, TrainingMessage, TrainingRequest
from millstream.estimators.extras import missing_extras
from millstream.estimators.fitting import CannotTrain
from millstream.stream.batch import BatchModel
from millstream.training.limits import Memory
from millstream.training.message_lines import Messages
from model_store import StoreUnavailable, VersionId
from model_store.pipe_frames import own_output
from runtime.exits import OK, TRY_AGAIN
from runtime.kafka_client.cluster import NoBroker
from runtime.kafka_client.errors import KafkaError

if TYPE_CHECKING:
    from millstream.config.settings import Settings

_read_request: Final = msgspec.json.Decoder(TrainingRequest).decode
_LOOK_SECONDS: Final = 1.0
_NO_MEMORY: Final = (
    "it asked for more memory at once than its limit: give it more (memory=), fewer rows (most=, window=), or a sparse "
    "or smaller form of its rows"
)


def answer() -> int:
    """Train as the request on standard input says; return the exit code."""
    threading.Thread(target=_end_with, args=(os.getppid(),), name="parent", daemon=True).start()
    out = Messages(own_output())
    try:
        out.send(_train(_read_request(sys.stdin.buffer.read()), out))
    except CannotTrain as error:
        out.send(TrainingFailed(str(error)))
    except MemoryError:
        out.send(TrainingFailed(_NO_MEMORY))
    except (KafkaError, NoBroker, StoreUnavailable) as error:
        print(f"training: {error}", file=sys.stderr, flush=True)
        return TRY_AGAIN
    return OK


def _train(request: TrainingRequest, out: Messages) -> TrainingMessage:
    from millstream.stream.load import LoadError, load_stream
    from millstream.training.reading import collected, read_range
    from millstream.training.training import Task, train
    from millstream.training.warm_start import parent_of
    from model_store import open_store

    try:
        loaded = load_stream(request.stream).of_model(request.model)
    except LoadError as error:
        raise CannotTrain(str(error)) from error
    stream, settings = loaded.stream, _settings()
    assert isinstance(stream.model, BatchModel)  # noqa: S101 - the job is of a batch model
    for missing in missing_extras(stream.model):  # before hours of a search
        raise CannotTrain(missing)
    parent = None
    if request.parent:
        version = VersionId.parse(request.parent, loaded.model_id)
        parent = parent_of(open_store(settings.models, settings.keys, sign=False), version)
    task = Task(stream, Path(request.folder), request.parameters, parent)

    def end(why: str) -> NoReturn:
        out.send(TrainingFailed(why))
        os._exit(OK)  # whatever the other threads do

    memory = Memory(task.model.memory_bytes, end)
    memory.start()
    records = read_range(settings.cluster(), settings.names(stream), request.topic_id, request.begin, request.end)
    count = request.end - request.begin
    return train(task, collected(stream, task.model, records, count, memory, out.progress), memory, out.progress)


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


def _end_with(parent: int) -> None:
    """End this process when the trainer has ended: another one takes the job up."""
    ended = threading.Event()
    while os.getppid() == parent:
        ended.wait(_LOOK_SECONDS)
    os._exit(TRY_AGAIN)
