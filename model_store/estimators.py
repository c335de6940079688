"""Files of scikit-learn estimators in skops' format: no pickle, and only types on an exact list.

skops cannot store River's models (104 of 240 fail, and some are silently wrong): see `model_store.restricted_pickle`.
skops is in the extra `batch`, and is imported only when it is needed.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import Any, Final

from model_store.errors import CannotPickle, Damaged, PickleNotAllowed, StoreError, VersionRefused
from model_store.estimator_structure import check_structure

# skops knows the public estimators and the arrays of numpy and scipy. These are the other types inside fitted
# estimators, found by saving every classifier and regressor of scikit-learn. Each was reviewed: none of them opens
# files, imports or calls by name.
_PARTS: Final = (
    "functools.partial",  # boosted trees with categories hold one of `check_array`; other functions are not on the list
    "scipy.sparse._csr.csr_array",
    "scipy.sparse._csr.csr_matrix",
    "sklearn._loss.loss.HalfTweedieLossIdentity",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.gaussian_process.kernels.ConstantKernel",
    "sklearn.gaussian_process.kernels.Product",
    "sklearn.gaussian_process.kernels.RBF",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.tree._tree.Tree",
    "sklearn.utils.validation.check_array",
)
_MOST_FILES: Final = 100_000
_ZIP: Final = b"PK\x03\x04"


class NoSkops(StoreError):  # noqa: N818
    """skops is not installed here: `pip install millstream[batch]`."""

    def __init__(self) -> None:
        super().__init__(
            "scikit-learn's estimators are stored by skops, which is not installed: pip install 'millstream[batch]'"
        )


def dumps_estimator(estimator: object) -> bytes:
    """Return a scikit-learn estimator as skops writes it, compressed.

    Raises
    ------
    CannotPickle
        If skops cannot write it, or it could not be loaded again.
    NoSkops
        If skops is not installed.
    """
    skops = _skops()
    try:
        data: bytes = skops.dumps(estimator, compression=zipfile.ZIP_DEFLATED, compresslevel=1)
        others = _untrusted(skops, data)
    except Exception as error:  # any object inside may raise
        raise CannotPickle(f"the estimator cannot be saved: {error}") from error
    if others:
        raise CannotPickle(f"the estimator cannot be saved: it holds {', '.join(others)}, which is not loaded again")
    return data


def loads_estimator(data: bytes, *, cap_bytes: int) -> Any:
    """Load an estimator from a file; all its types must be on the list.

    Parameters
    ----------
    cap_bytes
        Size limit of the unpacked estimator.

    Raises
    ------
    PickleNotAllowed
        If it names another type; no object was created.
    Damaged
        If the file is not an estimator, exceeds the limit, or has an index that points outside.
    NoSkops
        If skops is not installed.
    """
    skops = _skops()
    _insist_on_size(data, cap_bytes)
    try:
        others = _untrusted(skops, data)
        if others:
            raise PickleNotAllowed(f"the estimator names {', '.join(others)[:300]}, which none needs")
        loaded = skops.loads(data, trusted=list(_PARTS))
        check_structure(loaded)
        return loaded
    except (VersionRefused, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # compiled parts may raise anything on invalid data
        raise Damaged(f"an estimator that does not load: {type(error).__name__}: {error}") from error


def _skops() -> Any:
    try:
        from skops import io as skops
    except ImportError:
        raise NoSkops from None
    return skops


def _untrusted(skops: Any, data: bytes) -> list[str]:
    return sorted(set(skops.get_untrusted_types(data=data)) - set(_PARTS))


def _insist_on_size(data: bytes, cap_bytes: int) -> None:
    """Check the size before anything is unpacked; a zip file cannot unpack to more than it states."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            files = packed.infolist()
            size = sum(file.file_size for file in files)
            if len(files) <= _MOST_FILES and size <= cap_bytes:
                size += sum(_packed_inside(packed, file) for file in files)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise Damaged(f"not an estimator's file: {error}") from error
    if len(files) > _MOST_FILES or size > cap_bytes:
        raise Damaged(f"an estimator of {len(files)} files and {size} bytes; at most {_MOST_FILES} and {cap_bytes}")


def _packed_inside(packed: zipfile.ZipFile, file: zipfile.ZipInfo) -> int:
    """Return the size that a file unpacks to if it is a zip file again, as those of sparse matrices are."""
    with packed.open(file) as reading:
        if reading.read(len(_ZIP)) != _ZIP:
            return 0
    with zipfile.ZipFile(io.BytesIO(packed.read(file))) as inner:
        return sum(each.file_size for each in inner.infolist())
