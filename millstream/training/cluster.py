"""Fits of a search on a cluster of Dask or Ray.

A cluster is trusted with the rows, and with nothing else. What its workers answer is read in a process of its own,
which has neither the key nor the settings of Kafka; from there come scores, as JSON. From Dask that process takes no
pickle either: it reads MessagePack only.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Final

import msgspec

from millstream.estimators.fitting import CannotTrain
from millstream.training.limits import THREADS
from millstream.training.scoring import scored
from millstream.training.searching import Fit, Runs

_CONNECT_SECONDS: Final = 30
_MOST_BYTES: Final = 64 << 20
_KEPT: Final = frozenset({"PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "PYTHONHASHSEED", "VIRTUAL_ENV", *THREADS})
_KEPT_PREFIXES: Final = ("LC_", "DASK_", "RAY_")


class _Said(msgspec.Struct, frozen=True):
    """One message of the process: a score with its reason if there is none, or why nothing can be run."""

    score: float | None = None
    reason: str = ""
    failed: str = ""


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Said).decode


def on_cluster(address: str) -> Runs:
    """Return what runs fits on the cluster at an address, such as ``dask://host:8786``."""

    def run(fits: Sequence[Fit]) -> Iterator[Sequence[Any]]:
        context = get_context("spawn")
        reader, writer = context.Pipe(duplex=False)
        process = context.Process(target=_run_there, args=(address, list(fits), writer), daemon=True)
        with _without_secrets():
            process.start()
        writer.close()
        try:
            for count in range(len(fits)):
                said = _received(reader, address, count, len(fits))
                yield said.score, said.reason
        finally:
            process.kill()
            process.join()
            reader.close()

    return run


def _received(reader: Connection, address: str, count: int, of: int) -> _Said:
    try:
        said = _decode(reader.recv_bytes(_MOST_BYTES))
    except (EOFError, OSError) as error:
        raise CannotTrain(
            f"the cluster {address} has answered {count} of {of} fits: the search has ended there"
        ) from error
    except msgspec.DecodeError as error:
        raise CannotTrain(f"the cluster {address} answered with what is no score: {error}") from error
    if said.failed:
        raise CannotTrain(f"the cluster {address}: {said.failed}")
    return said


@contextlib.contextmanager
def _without_secrets() -> Iterator[None]:
    """Start a process without the variables that tell where Kafka and the store are, and their passwords."""
    whole = dict(os.environ)
    few = {name: value for name, value in whole.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}
    os.environ.clear()
    os.environ.update(few)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(whole)


# --- in the separate process -----------------------------------------------------------------------


def _run_there(address: str, fits: Sequence[Fit], writer: Connection) -> None:
    kind, _, place = address.partition("://")
    try:
        for score, reason in _BACKENDS[kind](place, fits):
            writer.send_bytes(_encode(_Said(None if score is None else float(score), str(reason))))
    except CannotTrain as error:
        writer.send_bytes(_encode(_Said(failed=str(error))))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the trainer must hear of it
        writer.send_bytes(_encode(_Said(failed=f"{type(error).__name__}: {error}"[:1000])))


def _on_dask(place: str, fits: Sequence[Fit]) -> Iterator[Sequence[Any]]:
    try:
        from distributed import Client
    except ImportError as error:
        raise CannotTrain("cluster='dask://…' needs Dask: pip install 'millstream[dask]'") from error
    # Without the family "pickle" an answer that is one is refused, and never loaded. Joblib's backend would wait for it
    # for ever; and on a single core it would run the fits here.
    plain = ["msgpack", "error"]
    with Client(f"tcp://{place}", timeout=_CONNECT_SECONDS, set_as_default=False, deserializers=plain) as client:
        parts = {id(part): part for fit in fits for part in (fit.train, fit.test)}
        there = dict(zip(parts, client.scatter(list(parts.values()), hash=False), strict=True))
        futures = [
            client.submit(
                scored, fit.estimator, there[id(fit.train)], there[id(fit.test)], fit.score, fit.weight, pure=False
            )
            for fit in fits
        ]
        for future in futures:
            yield future.result()


def _on_ray(place: str, fits: Sequence[Fit]) -> Iterator[Sequence[Any]]:
    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError as error:
        raise CannotTrain("cluster='ray://…' needs Ray: pip install 'millstream[ray]'") from error
    from joblib import Parallel, delayed, parallel_config

    ray.init(address=f"ray://{place}", log_to_driver=False)
    register_ray()
    with parallel_config(backend="ray"):
        found: Sequence[Sequence[Any]] = Parallel(n_jobs=-1)(
            delayed(scored)(each.estimator, each.train, each.test, each.score, each.weight) for each in fits
        )
    yield from found


_BACKENDS: Final[Mapping[str, Callable[[str, Sequence[Fit]], Iterator[Sequence[Any]]]]] = {
    "dask": _on_dask,
    "ray": _on_ray,
}
