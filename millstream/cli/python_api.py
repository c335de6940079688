"""Results in Python: `millstream.examples`, `predictions`, `dead_letters`, `alerts` and `model`.

They find the cluster and the model store as the commands do: an argument takes precedence over the environment
(``MILLSTREAM_BOOTSTRAP``), and that over ``millstream.toml``.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from consumers.model.river_model import Answer, RiverModel
from consumers.model.version_files import CODE_FILE, REBUILD, REBUILD_START
from consumers.model.version_loader import load_face
from consumers.model.version_runtime import RunWith
from millstream.cli.shared_options import Where, filling_in, full_names, is_mere_name
from millstream.config.errors import SettingsError
from millstream.config.settings import DEFAULT_HOME, read_config
from millstream.reading.frame import frame
from millstream.reading.topic_readers import each_record
from millstream.reading.typed_rows import READERS, AlertRow, DeadLetterRow, ExampleRow, PredictionRow
from millstream.stream.code_object import decode
from millstream.stream.load import load_stream
from millstream.stream.stream import Stream
from millstream.stream.stream_file import ready_made
from millstream.version_code.choice import OtherCode, VersionCode, run_code
from model_store import Manifest, ModelStore, NotFound, VersionId, open_store
from runtime.kafka_client.library_names import DEFAULT as DEFAULT_CLIENT
from runtime.kafka_client.library_names import LibraryName
from schemas.codec import CodecError
from schemas.events import Features
from schemas.model_names import MAIN, is_model_name, model_id, stream_of

if TYPE_CHECKING:
    import pandas as pd

    from millstream.config.settings import Settings
    from runtime.kafka_client.records import Record

T = TypeVar("T")


class Rows(Generic[T]):
    """The rows of a topic. Each iteration reads the topic again, up to where it ends then.

    Attributes
    ----------
    unreadable
        (partition, offset, reason) of the records that the last reading left out, because they cannot be read.
    """

    def __init__(
        self, kind: str, stream: str | Stream, settings: Settings, last: int | None, limit: int | None
    ) -> None:
        self._kind = kind
        self._given = stream
        self._stream = stream.name if isinstance(stream, Stream) else stream
        self._settings = settings
        self._last = last
        self._limit = limit
        self.unreadable: list[tuple[int, int, str]] = []

    def __iter__(self) -> Iterator[T]:
        read: Callable[[Record], T] = READERS[self._kind]
        for record in self._records():
            try:
                row = read(record)
            except CodecError as error:
                self._leave_out(record, error)
            else:
                yield row
        self._warn()

    def to_pandas(self, prefix: str = "features.") -> pd.DataFrame:
        """Return the rows as a data frame; needs pandas (``pip install 'millstream[pandas]'``).

        Each feature is a column, each class a column ``probabilities.CLASS``, and each detail of an alert a column
        ``details.NAME``. Times are timestamps in UTC.

        Parameters
        ----------
        prefix
            Text before the name of each feature in the name of its column.

        Raises
        ------
        ValueError
            If a feature has the name of another column.
        """
        made = frame(self._records(), self._kind, prefix, self._leave_out)
        self._warn()
        return made

    def _records(self) -> Iterator[Record]:
        self.unreadable = []
        cluster = self._settings.cluster()
        with filling_in(self._stream):
            given = self._given
            if isinstance(given, Stream):
                names = self._settings.names(given)
            else:
                names = full_names(given, self._settings, cluster)
            yield from each_record(cluster, names, self._kind, limit=self._limit, last=self._last)

    def _leave_out(self, record: Record, error: CodecError) -> None:
        self.unreadable.append((record.partition, record.offset, str(error)))

    def _warn(self) -> None:
        if self.unreadable:
            partition, offset, reason = self.unreadable[0]
            count = len(self.unreadable)
            warnings.warn(
                f"{count:,} record{'s' * (count > 1)} of {self._kind} of {self._stream} cannot be read: left out; "
                f"the first, at offset {offset} of partition {partition}: {reason}",
                stacklevel=3,
            )

    def __repr__(self) -> str:
        part = "" if self._last is None else f", the newest {self._last:,}"
        part += "" if self._limit is None else f", the first {self._limit:,}"
        return f"<{self._kind} of {self._stream}{part}: iterate, or call to_pandas()>"


def examples(
    stream: str | Path | Stream,
    *,
    last: int | None = None,
    limit: int | None = None,
    home: str | Path | None = None,
    bootstrap: str | None = None,
    prefix: str | None = None,
) -> Rows[ExampleRow]:
    """Return the examples log, in its order.

    Parameters
    ----------
    stream
        The stream's name, its file, or a `Stream`.
    last
        Only so many newest rows; without it, all.
    limit
        Stop after so many.
    home, bootstrap, prefix
        As the options of the commands: the home folder, ``host:port`` of a Kafka, and the text before every topic.

    Examples
    --------
    >>> import millstream
    >>> millstream.examples("flights", last=10_000)
    <examples of flights, the newest 10,000: iterate, or call to_pandas()>
    """
    return _rows("examples", stream, last, limit, _settings(home, bootstrap, prefix))


def predictions(
    stream: str | Path | Stream,
    *,
    last: int | None = None,
    limit: int | None = None,
    home: str | Path | None = None,
    bootstrap: str | None = None,
    prefix: str | None = None,
) -> Rows[PredictionRow]:
    """Return the answers: partition by partition, or with `last` in the order of the broker's time.

    See `examples` for the parameters.
    """
    return _rows("predictions", stream, last, limit, _settings(home, bootstrap, prefix))


def dead_letters(
    stream: str | Path | Stream,
    *,
    last: int | None = None,
    limit: int | None = None,
    home: str | Path | None = None,
    bootstrap: str | None = None,
    prefix: str | None = None,
) -> Rows[DeadLetterRow]:
    """Return the rejected records with their bytes and the reason. See `examples` for the parameters."""
    return _rows("dead-letters", stream, last, limit, _settings(home, bootstrap, prefix))


def alerts(
    stream: str | Path | Stream,
    *,
    last: int | None = None,
    limit: int | None = None,
    home: str | Path | None = None,
    bootstrap: str | None = None,
    prefix: str | None = None,
) -> Rows[AlertRow]:
    """Return the alerts as they were raised and cleared. See `examples` for the parameters."""
    return _rows("alerts", stream, last, limit, _settings(home, bootstrap, prefix))


def _rows(kind: str, stream: str | Path | Stream, last: int | None, limit: int | None, settings: Settings) -> Rows[Any]:
    for name, value in (("last", last), ("limit", limit)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise ValueError(f"{name}={value!r} must be a number of rows, at least 0")
    if last is not None and limit is not None:
        raise ValueError("last= and limit= are the end and the beginning of the rows: give one of them")
    return Rows(kind, _given(stream), settings, last, limit)


def _given(stream: object) -> str | Stream:
    if isinstance(stream, (str, Path)):
        return str(stream)
    if isinstance(stream, Stream):
        return stream
    raise TypeError(f"{stream!r:.60} is no stream: give its name, its file, or a Stream")


def _settings(home: str | Path | None, bootstrap: str | None, prefix: str | None, store: str | None = None) -> Settings:
    """Return the settings of a command with these options."""
    _, file = read_config()

    def option(name: str, given: str | Path | None) -> str:
        value = os.environ.get(f"MILLSTREAM_{name.upper()}", file.get(name, "")) if given is None else given
        if not isinstance(value, (str, Path)):
            raise SettingsError(f"{name}={value!r:.60} must be a text")
        return str(value)

    where = Where(
        home=Path(option("home", home) or DEFAULT_HOME),
        bootstrap=option("bootstrap", bootstrap),
        prefix=option("prefix", prefix),
        store=option("store", store),
        client=cast(LibraryName, option("client", None) or DEFAULT_CLIENT),  # `library_named` checks it
    )
    return where.settings()


# --- models ----------------------------------------------------------------------------------------


class StoredModel:
    """A version of a stream's model, with its signature, its hashes and its libraries checked.

    Attributes
    ----------
    stream, version
        The stream's name, and ``epoch/examples``; of a named model ``name:epoch/examples``.
    river
        The River model itself.
    created_at
        When the version was written, ms since 1970.
    metrics
        By name, as they were then.
    carried
        True if it runs with the code that the version carries, and not with the stream file's.
    """

    def __init__(self, manifest: Manifest, face: RiverModel, carried: bool) -> None:
        self.stream = stream_of(manifest.version.model)
        self.version = str(manifest.version)
        self.river: Any = face.model
        self.created_at = manifest.created_at_ms
        self.metrics = dict(manifest.metrics)
        self.carried = carried
        self._face = face

    def predict(self, features: Features) -> Answer:
        """Return the answer to features as used: those of an example or a prediction.

        The contract is not applied, and a `Calendar` adds nothing.
        """
        return self._face.predict(dict(features))

    def __repr__(self) -> str:
        return f"<version {self.version} of {self.stream}: {type(self.river).__name__}>"


def model(
    stream: str | Path | Stream,
    version: str | None = None,
    *,
    code: Literal["own", "version"] = "version",
    home: str | Path | None = None,
    prefix: str | None = None,
    store: str | None = None,
) -> StoredModel:
    """Return a version of the stream's model, after all checks that a predictor makes before it loads one.

    It is a copy: what it learns here goes nowhere.

    Parameters
    ----------
    stream
        The stream's name, or its file. A name alone is enough: a version carries its code.
    version
        ``epoch/examples``, or ``name:epoch/examples`` of one of `models`, or only the name of one for its newest;
        without it, the newest of the stream's own model. A rebuild that waits for its adoption is never the newest.
    code
        As ``--code``: what runs a version whose definition differs from the stream file. ``version`` is the signed code
        that it carries; ``own`` refuses it.
    home, prefix, store
        As the options of the commands.

    Raises
    ------
    NotFound
        If there is no such version.
    VersionRefused
        If a check fails.

    Examples
    --------
    >>> import millstream
    >>> found = millstream.model("flights", "1/20000")  # doctest: +SKIP
    >>> found.predict({"distance": 320.0}).probabilities  # doctest: +SKIP
    """
    settings = _settings(home, None, prefix, store)
    versions = open_store(settings.models, settings.keys, sign=False)
    given = _given(stream)
    loaded = None if isinstance(given, Stream) or _is_only_a_name(given) else load_stream(given)
    name = given.name if isinstance(given, Stream) else given if loaded is None else loaded.stream.name
    manifest = _manifest(versions, name, version)
    if loaded is None:
        if code == "own":
            raise OtherCode(f"code='own' needs the stream file of {name}: give its path instead of the name")
        face, carried = _carried(versions, manifest)
    else:
        run_with = VersionCode(loaded, versions, code).to_answer(manifest)
        face, carried = load_face(versions, manifest, run_with, loaded.stream.task), run_with.carried
    return StoredModel(manifest, face, carried)


def _is_only_a_name(given: str) -> bool:
    return is_mere_name(given) and given not in ready_made()


def _manifest(store: ModelStore, name: str, version: str | None) -> Manifest:
    """Return the manifest of a version, or of the newest; a rebuilt version is found only by its own name."""
    only_model = version is None or is_model_name(version)
    wanted = None if version is None or only_model else VersionId.parse(version, name)
    of = model_id(name, version or MAIN) if wanted is None else wanted.model
    there = store.versions(of)
    if wanted is not None:
        if wanted not in there:
            newest = f"; the newest is {there[-1]}" if there else ""
            raise NotFound(f"there is no version {wanted} of {name} in this store{newest}")
        return store.manifest(wanted)
    for each in reversed(there):
        manifest = store.manifest(each)
        if manifest.reason not in (REBUILD, REBUILD_START):
            return manifest
    raise NotFound(f"there are no versions of {of} in this store: the learner writes the first")


def _carried(store: ModelStore, manifest: Manifest) -> tuple[RiverModel, bool]:
    """Return the model of a version whose stream file is not at hand, by the code that it carries."""
    if CODE_FILE not in manifest.files:
        raise OtherCode(f"version {manifest.version} carries no code: give the path of its stream file")
    code = decode(store.read(manifest, CODE_FILE))
    ran = run_code(code)
    run_with = RunWith(ran.allowed, ran.find, carried=True, sees=ran.stream.sees)
    return load_face(store, manifest, run_with, code.target.task), True
