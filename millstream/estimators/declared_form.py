"""Form of the rows of a batch model, from its declaration and the events that it is fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from consumers.model.river_model import ModelError
from consumers.model.row_form import RowForm
from millstream.estimators.fitting import CannotTrain
from millstream.stream.batch import BatchModel
from millstream.stream.stream import Stream
from schemas.events import Features, Scalar


def form_of(stream: Stream, several: Sequence[Features], classes: Sequence[Scalar]) -> RowForm:
    """Return the form of the rows of a stream's batch model.

    Parameters
    ----------
    stream
        The stream, with the batch model as its model.
    classes
        The classes as labels spell them, if the estimator knows them by their texts.

    Raises
    ------
    CannotTrain
        If the events have no common form.
    """
    assert isinstance(stream.model, BatchModel)  # noqa: S101 - the stream was made with it
    vector = vector_of(stream, several) if stream.model.rows == "vector" else ""
    try:
        return replace(RowForm.of(stream.model.rows, several, vector=vector), classes=tuple(classes))
    except (ModelError, TypeError, ValueError, OverflowError) as error:
        raise CannotTrain(f"the rows do not have one form: {error}") from error


def vector_of(stream: Stream, several: Sequence[Features]) -> str:
    """Return the name of the only vector feature. Raises CannotTrain if there are several, or none."""
    declared = [name for name, feature in stream.seen.declared.items() if feature.type == "vector"]
    met = declared or sorted({name for each in several for name, value in each.items() if isinstance(value, list)})
    if len(met) != 1:
        raise CannotTrain(
            f"rows='vector' needs one vector feature; there are {', '.join(met) or 'none'}: name it (sees=)"
        )
    return met[0]
