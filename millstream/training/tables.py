"""Tables of examples for an estimator: rows as in serving, labels as they were known at a moment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from consumers.model.row_form import RowForm, class_array
from millstream.estimators.fitting import Numbers, Table, rows_at
from millstream.training.examples import Examples, Moment
from schemas.events import Scalar
from schemas.label_spelling import class_key
from schemas.target import Task


class Tables:
    """Makes tables of some of the examples: the same classes are spelled in the same way in each.

    Attributes
    ----------
    form
        The form of the rows, made from those of the training part alone.
    regression
        True if labels are numbers.
    """

    def __init__(self, examples: Examples, train: Numbers, task: Task, form: RowForm) -> None:
        self._examples = examples
        self._spelled = bool(form.classes)
        self._task = task
        self.form = form
        self.regression = task == "regression"
        self._places = {index: place for place, index in enumerate(train.tolist())}
        self._rows = form.matrix([examples.features[index] for index in train.tolist()])

    def table(self, indexes: Numbers, moment: Moment | None) -> Table:
        """Return a table of examples of the training part, with labels as they were known at a moment."""
        chosen = indexes.tolist()
        labels, weights = self._examples.known_at(chosen, moment)
        places = np.array([self._places[index] for index in chosen], dtype=np.intp)
        return Table(rows_at(self._rows, places), self.spelled(labels), weights)

    def spelled(self, labels: Sequence[Scalar]) -> Numbers:
        """Return labels as the estimator knows them."""
        if not self._spelled:
            return class_array(labels, self._task)[0]  # type: ignore[no-any-return]
        texts = np.empty(len(labels), dtype=object)
        texts[:] = [class_key(label) for label in labels]
        return texts
