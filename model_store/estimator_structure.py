"""Indexes inside loaded estimators, which compiled code follows without looking.

A file with types from the list alone can still hold a tree whose children are beyond its end, or a vocabulary whose
places are beyond its matrix. These are the places that compiled code follows when an estimator answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from model_store.errors import Damaged

_MOST_OBJECTS: Final = 20_000_000
_PLAIN: Final = (str, bytes, bytearray, bool, int, float, complex, type(None))


def check_structure(estimator: Any) -> None:
    """Raise Damaged if an index inside an estimator is outside of what it points into, or it reads files by name."""
    for found in _inside(estimator):
        kind = type(found)
        name = f"{kind.__module__}.{kind.__name__}"
        if name in _CHECKS:
            _insist(_CHECKS[name](found), name)
        attributes = getattr(found, "__dict__", None)
        if isinstance(attributes, dict):
            _check_attributes(name, found, attributes)


def _insist(holds: bool, name: str) -> None:
    if not holds:
        raise Damaged(f"the {name} inside points outside of itself")


def _inside(whole: Any) -> Iterator[Any]:
    """Yield the objects that something is made of, each once."""
    stack, met = [whole], set()
    while stack:
        found = stack.pop()
        if isinstance(found, _PLAIN) or id(found) in met:
            continue
        met.add(id(found))
        if len(met) > _MOST_OBJECTS:
            raise Damaged(f"an estimator of more than {_MOST_OBJECTS} parts")
        yield found
        if isinstance(found, dict):
            stack += found.values()
        elif isinstance(found, (list, tuple, set)):
            stack += found
        elif isinstance(found, np.ndarray):
            stack += found.ravel().tolist() if found.dtype == object else []
        else:
            stack += getattr(found, "__dict__", {}).values()


def _check_attributes(name: str, found: Any, attributes: dict[str, Any]) -> None:
    if attributes.get("input") in ("file", "filename"):
        raise Damaged(f"the {name} inside reads files that events name (input={attributes['input']!r})")
    if isinstance(vocabulary := attributes.get("vocabulary_"), dict):
        _insist(_is_range(vocabulary.values(), len(vocabulary)), name)
    features = attributes.get("n_features_in_")
    tree = attributes.get("tree_")
    if tree is not None:
        _insist(isinstance(features, int) and tree.n_features == features, name)
    if name.startswith(("sklearn.ensemble._forest.", "sklearn.ensemble._gb.")):
        # These ask their trees without looking at the number of features.
        parts = np.asarray(attributes.get("estimators_", []), dtype=object).ravel()
        _insist(all(getattr(each, "n_features_in_", None) == features for each in parts), name)
    if "_bin_mapper" in attributes:
        _insist(_histograms_hold(found), name)
    if "_n_features_outs" in attributes:
        _insist(_one_hot_holds(found), name)
    if "_n_support" in attributes:
        _insist(_vectors_hold(found), name)


def _is_range(places: Any, most: int) -> bool:
    return all(isinstance(place, (int, np.integer)) and 0 <= place < most for place in places)


def _tree_holds(tree: Any) -> bool:
    """Return whether all children of a tree come after their parent, and all its features are there."""
    nodes = tree.__getstate__()["nodes"]
    inner = nodes["left_child"] != -1
    return _nodes_hold(nodes, inner, "left_child", "right_child", "feature", tree.n_features)


def _nodes_hold(nodes: Any, inner: Any, left: str, right: str, feature: str, features: int) -> bool:
    places, chosen = np.flatnonzero(inner), nodes[inner]
    if not len(nodes):
        return False
    children = [chosen[side].astype(np.int64) for side in (left, right)]
    return all(bool(((side > places) & (side < len(nodes))).all()) for side in children) and bool(
        ((chosen[feature] >= 0) & (chosen[feature] < features)).all()
    )


def _histograms_hold(model: Any) -> bool:
    mapped = len(model._bin_mapper.bin_thresholds_)
    features = model.n_features_in_
    predictors = [predictor for several in model._predictors for predictor in several]
    return isinstance(features, int) and all(
        _boosted_holds(predictor, min(mapped, features)) for predictor in predictors
    )


def _boosted_holds(predictor: Any, features: int) -> bool:
    nodes, bits = predictor.nodes, predictor.raw_left_cat_bitsets
    inner = nodes["is_leaf"] == 0
    categorical = nodes[inner & (nodes["is_categorical"] != 0)]
    sets = bits.ndim == 2 and bits.shape[1] == 8 and bits.dtype == np.uint32
    return (
        _nodes_hold(nodes, inner, "left", "right", "feature_idx", features)
        and sets
        and bool((categorical["bitset_idx"] < bits.shape[0]).all())
    )


def _one_hot_holds(encoder: Any) -> bool:
    counted = encoder._n_features_outs
    if [int(each) for each in counted] != [int(each) for each in encoder._compute_n_features_outs()]:
        return False
    grouped = getattr(encoder, "_default_to_infrequent_mappings", None) or [None] * len(counted)
    dropped = encoder._drop_idx_after_grouping is not None  # then a place more than columns
    return len(grouped) == len(counted) and all(
        each is None or _is_range(np.asarray(each).tolist(), int(most) + dropped)
        for each, most in zip(grouped, counted, strict=True)
    )


def _vectors_hold(machine: Any) -> bool:
    """Return whether the arrays of support vectors have the sizes that libsvm takes for granted."""
    counts = np.asarray(machine._n_support)
    vectors, weights = machine.support_vectors_, machine._dual_coef_
    classes = len(counts)
    # Machines without classes have the number of all their vectors twice.
    total = int(counts.sum()) if hasattr(machine, "classes_") else int(counts[0])
    pairs = classes * (classes - 1) // 2
    return (
        bool((counts >= 0).all())
        and machine.support_.shape == (total,)
        and vectors.shape[0] == total
        and weights.shape == (max(classes - 1, 1), total)
        and np.size(machine._intercept_) == max(pairs, 1)
        and np.size(machine._probA) in (0, max(pairs, 1))
        and np.size(machine._probB) in (0, np.size(machine._probA))
    )


def _neighbors_hold(tree: Any) -> bool:
    """Return whether a tree of neighbours is the one that its points give."""
    state = tree.__getstate__()
    points, leaf_size, metric = state[0], state[4], state[-2]
    again = type(tree)(points, leaf_size=leaf_size, metric=metric, sample_weight=state[-1]).__getstate__()
    fixed = range(7)  # what follows counts calls
    return all(np.array_equal(np.asarray(state[place]), np.asarray(again[place])) for place in fixed)


def _sparse_holds(matrix: Any) -> bool:
    try:
        matrix.check_format(full_check=True)
    except ValueError:
        return False
    return True


_CHECKS: Final = {
    "sklearn.tree._tree.Tree": _tree_holds,
    "sklearn.neighbors._kd_tree.KDTree": _neighbors_hold,
    **{
        f"scipy.sparse._{kind}.{kind}_{form}": _sparse_holds
        for kind in ("csr", "csc", "bsr")
        for form in ("matrix", "array")
    },
}
