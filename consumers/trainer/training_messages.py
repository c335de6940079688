"""Request of a trainer to the process that trains, and its answers: one line of JSON each."""

from __future__ import annotations

from typing import Any, Final

import msgspec

TRAINER_PID: Final = "MILLSTREAM_TRAINER_PID"
"""Environment variable of a training: the process that has started it, with which it ends."""
ESTIMATOR: Final = "estimator.skops"
"""Name of the estimator's file in the folder of a training."""
GRAPH: Final = "graph.onnx"
"""Name of the graph's file there, if the version answers with one."""


class TrainingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A training, complete: equal requests give equal models.

    Attributes
    ----------
    stream, model
        The stream file, and the name of the batch model in it.
    job, attempt
        Which job it is for, for messages.
    topic_id, begin, end
        The examples log, and the range of offsets that is read.
    parent
        Version to go on from (`warm_start`), as text; empty for none.
    serving
        What is compared with where no answer was served, as in `Claim`.
    parameters
        Parameters that an earlier training has chosen, instead of a search: for `models verify`.
    folder
        Where the files of the version are put: ``estimator.skops``, and ``graph.onnx`` where it is served so.
    definition, contract
        Hashes of the model as the trainer has loaded it, which it signs; empty if they are not to be compared.
    """

    stream: str
    model: str
    job: str
    attempt: int
    topic_id: str
    begin: int
    end: int
    parent: str = ""
    serving: str = ""
    parameters: dict[str, Any] | None = None
    folder: str
    definition: str = ""
    contract: str = ""


class TrainingProgress(msgspec.Struct, frozen=True, tag="progress"):
    """How far it has come: `done` of `of`, and what it does now."""

    done: int
    of: int
    text: str


class TrainingFailed(msgspec.Struct, frozen=True, tag="failed"):
    """It has failed, and would again: why, and the way out."""

    why: str


class TrainingResult(msgspec.Struct, frozen=True, kw_only=True, tag="result"):
    """A trained model.

    Attributes
    ----------
    examples, chain, skipped
        Number of rows that it was trained on, the hash chain of the range, and the offsets that were left out.
    left_out
        How many examples were left out, by reason.
    parameters, table
        The parameters that were chosen, and what the search has tried: one row for each candidate and rung.
    seed, threads, cpu, tolerance
        As in the manifest; `tolerance` is by how much two fits with the same seed differ, 0 if they do not.
    alone
        True if its answers depend on what else is in the batch, so that it is asked one by one.
    probe, probed
        Features of events that the version is tried on, and the hash of the answers to them.
    comparison
        Its loss and metrics on the newest part beside those of what served, as a whole and for each slice.
    better
        True if the interval of the difference of losses lies above `at_least`.
    labels_from_ms, labels_to_ms
        Broker times of the labels that it was trained on.
    form
        Form of its rows, as `RowForm.as_json` returns it.
    refit
        True if it was fitted again on all rows after its test.
    notes
        What a person should know of it: unseeded parts, weights that the estimator does not take.
    """

    examples: int
    chain: str
    skipped: list[int | tuple[int, int]] = []
    left_out: dict[str, int] = {}
    parameters: dict[str, Any]
    table: list[dict[str, Any]] = []
    seed: int
    threads: int
    cpu: str
    tolerance: float = 0.0
    alone: bool = False
    probe: list[dict[str, Any]] = []
    probed: str = ""
    comparison: dict[str, Any] = {}
    better: bool | None = None
    labels_from_ms: int | None = None
    labels_to_ms: int | None = None
    form: dict[str, Any] = {}
    refit: bool = False
    notes: list[str] = []


TrainingMessage = TrainingProgress | TrainingFailed | TrainingResult
