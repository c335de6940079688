"""Fits of a search on a cluster of Dask or Ray.

A cluster is trusted with the rows, and with nothing else. What its workers answer is read in a process of its own,
which has neither the key nor the settings of Kafka; from there come scores, as JSON. No pickle of a worker is executed
there either: Dask's answers are read as MessagePack, Ray's are pickles of numbers and texts, and at the first pickle
that names a class or a function the interpreter ends.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Final

import msgspec

from millstream.estimators.fitting import CannotTrain
from millstream.training.scoring import scored
from millstream.training.searching import Fit, Runs
from millstream.training.seed_and_threads import THREADS

_CONNECT_SECONDS: Final = 10
_LOOK_SECONDS: Final = 5
_LOST_WORKERS: Final = 3  # in one rung of a search: of Ray's a fit is tried as often
_MOST_BYTES: Final = 1 << 20
_LONGEST: Final = 1000
_NAMED: Final = frozenset(
    {
        *(("builtins", name) for name in ("dict", "frozenset", "list", "set", "tuple")),  # Dask's scheduler, of itself
        ("ray.exceptions", "GetTimeoutError"),  # each half of a second, while a fit runs
    }
)
_KEPT: Final = frozenset({"PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "PYTHONHASHSEED", "VIRTUAL_ENV", *THREADS})
_KEPT_PREFIXES: Final = ("LC_", "DASK_", "RAY_")


class _Said(msgspec.Struct, frozen=True):
    """One message of the process: a score with its reason if there is none, or why nothing can be run."""

    score: float | None = None
    reason: str = ""
    failed: str = ""


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Said).decode


def on_cluster(address: str, alone_seconds: float = 60.0) -> Runs:
    """Return what runs fits on the cluster at an address, such as ``dask://host:8786``.

    The fits of workers that end are run by others; a cluster without any for `alone_seconds` has failed.
    """

    def run(fits: Sequence[Fit]) -> Iterator[Sequence[Any]]:
        context = get_context("spawn")
        reader, writer = context.Pipe(duplex=False)
        process = context.Process(target=_run_there, args=(address, list(fits), writer, alone_seconds), daemon=True)
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


def _run_there(address: str, fits: Sequence[Fit], writer: Connection, alone_seconds: float) -> None:
    def fail(why: str) -> None:
        writer.send_bytes(_encode(_Said(failed=why)))

    kind, _, place = address.partition("://")
    try:
        found = _on_dask(place, fits, alone_seconds, fail) if kind == "dask" else _on_ray(place, fits, fail)
        for score, reason in found:
            writer.send_bytes(_encode(_Said(None if score is None else float(score), str(reason))))
    except CannotTrain as error:
        fail(str(error))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the trainer must hear of it
        why = " ".join(f"{type(error).__name__}: {error}".split())
        fail((f"it does not answer, or has gone away ({why})" if isinstance(error, OSError) else why)[:_LONGEST])


def _on_dask(
    place: str, fits: Sequence[Fit], alone_seconds: float, refused: Callable[[str], None]
) -> Iterator[Sequence[Any]]:
    from distributed import Client

    _refuse_pickles(refused)
    # Joblib's backend would wait for ever for an answer that is refused, and run everything here where the cluster
    # has one core.
    plain = ["msgpack", "error"]
    with Client(f"tcp://{place}", timeout=_CONNECT_SECONDS, set_as_default=False, deserializers=plain) as client:
        yield from _despite_losses(client, fits, alone_seconds)


def _despite_losses(client: Any, fits: Sequence[Fit], alone_seconds: float) -> Iterator[Sequence[Any]]:
    """Yield the results of fits; those that were lost because workers have ended are asked for again."""
    from concurrent.futures import CancelledError

    done, lost = 0, 0
    while done < len(fits):
        try:
            for result in _submitted(client, fits[done:], alone_seconds):
                done += 1
                yield result
        except CancelledError as error:
            lost += 1
            if lost > _LOST_WORKERS:
                raise CannotTrain(f"its workers have ended {lost} times with the rows of the search") from error


def _submitted(client: Any, fits: Sequence[Fit], alone_seconds: float) -> Iterator[Sequence[Any]]:
    parts = _parts(fits)
    _insist_on_workers(client, alone_seconds)
    there = dict(zip(parts, client.scatter([*parts.values()], hash=False), strict=True))
    futures = [client.submit(scored, *_given(fit, there), pure=False) for fit in fits]
    for future in futures:
        while True:
            try:
                result = future.result(timeout=_LOOK_SECONDS)
                break
            except TimeoutError:
                _insist_on_workers(client, alone_seconds)
        yield result


def _insist_on_workers(client: Any, seconds: float) -> None:
    """Wait until the cluster has a worker. Raises CannotTrain if none comes."""
    try:
        client.wait_for_workers(1, timeout=seconds)
    except TimeoutError as error:
        raise CannotTrain(f"it has had no worker for {seconds:g} s") from error


def _parts(fits: Sequence[Fit]) -> dict[int, Any]:
    """Return the parts of all fits, each once: they share them."""
    return {id(part): part for fit in fits for part in (fit.train, fit.test)}


def _given(fit: Fit, there: Mapping[int, Any]) -> tuple[Any, ...]:
    """Return the arguments of `scored`, with references to the parts that are there."""
    return fit.estimator, there[id(fit.train)], there[id(fit.test)], fit.score, fit.weight


def _refuse_pickles(refused: Callable[[str], None]) -> None:
    """End this process at the first pickle that names a class or a function, whichever library reads it.

    An exception would not do: the library's own threads would catch it, and the fits would be waited for.
    """

    def hook(event: str, given: tuple[object, ...]) -> None:
        if event == "pickle.find_class" and given[:2] not in _NAMED:
            refused(
                f"an answer is a pickle, which names {given[0]}.{given[1]}: it was refused. Errors of workers come so, "
                "too: their logs say more; they need the same libraries as here"[:_LONGEST]
            )
            os._exit(1)

    sys.addaudithook(hook)


def _on_ray(place: str, fits: Sequence[Fit], refused: Callable[[str], None]) -> Iterator[Sequence[Any]]:
    import ray

    _refuse_pickles(refused)
    ray.init(address=f"ray://{place}", log_to_driver=False, logging_level="error")
    # Not by joblib's backend: it would hand over all scores at the end, and each part once for each fit.
    there = {key: ray.put(part) for key, part in _parts(fits).items()}
    run = ray.remote(scored)
    references = [run.remote(*_given(fit, there)) for fit in fits]
    for reference in references:
        yield ray.get(reference)
