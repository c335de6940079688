"""Progressive metrics of a stream's learners, shown before there are labelled shadow answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from consumers.model.quality import BASELINES
from millstream.evaluation.compare.report import ProgressiveComparison
from millstream.evaluation.findings import Kind, Result
from millstream.evaluation.intervals import Estimate
from model_store import Manifest, ModelStore, StoreError, VersionId

_MOST_TRIED: Final = 20
Manifests = dict[str, Manifest | None]


def progressive(
    store: ModelStore, stream: str, models: Mapping[str, str], bigger: dict[str, bool], why: str
) -> ProgressiveComparison:
    """Return what each learner says of its model, over the same examples if there are versions that have learned them.

    Parameters
    ----------
    models
        Id of each model in the store, by its name.
    bigger
        By metric: whether a larger value is better.
    why
        Why there is nothing as served.
    """
    found = {name: store.versions(model) for name, model in models.items()}
    chosen = _on_the_same_examples(store, found)
    same = chosen is not None
    if chosen is None:
        chosen = {name: _read(store, versions[-1]) if versions else None for name, versions in found.items()}
    results = list(_results(chosen))
    counted = max((each.counted for each in results), default=0)
    return ProgressiveComparison(
        on=stream,
        rows=counted,
        measured=counted,
        label_delay=None,
        by=None,
        bigger_is_better=bigger,
        results=results,
        comparisons=[],
        curves=[],
        slices=[],
        refused=[],
        blocks=0,
        block_rows=0,
        notes=[why, *_notes(chosen, same)],
        versions={name: None if each is None else str(each.version) for name, each in chosen.items()},
        same_examples=same,
    )


def _on_the_same_examples(store: ModelStore, found: Mapping[str, list[VersionId]]) -> Manifests | None:
    """Return the newest versions of all models that have learned the same examples; `None` if there are none."""
    by_count = {name: {each.examples: each for each in versions} for name, versions in found.items()}
    common = set.intersection(*(set(each) for each in by_count.values()))
    for examples in sorted(common, reverse=True)[:_MOST_TRIED]:
        manifests = {name: _read(store, versions[examples]) for name, versions in by_count.items()}
        chains = {None if each is None else each.chain for each in manifests.values()}
        if examples and len(chains) == 1 and None not in chains:
            return manifests
    return None


def _read(store: ModelStore, version: VersionId) -> Manifest | None:
    """Return a version's manifest, `None` if it is gone or refused."""
    try:
        return store.manifest(version)
    except StoreError:
        return None


def _results(chosen: Manifests) -> Iterator[Result]:
    for name, manifest in chosen.items():
        if manifest is not None:
            yield _result(name, "model", name, manifest.metrics, "progressive")
    for manifest in chosen.values():
        if manifest is not None:
            for source, shown in BASELINES.items():
                if source in manifest.metrics:
                    yield _result(shown, "baseline", None, manifest.metrics, source)
            return


def _result(shown: str, kind: Kind, model: str | None, metrics: Mapping[str, Any], source: str) -> Result:
    # A detector is measured by what it served alone.
    known = metrics.get(source) or metrics.get("served") or {}
    values = {name: Estimate(value) for name, value in known.get("all", {}).items()}
    return Result(shown, kind, model, metrics.get("counted", {}).get(source, 0), values)


def _notes(chosen: Manifests, same: bool) -> Iterator[str]:
    missing = [name for name, each in chosen.items() if each is None]
    if missing:
        yield f"{', '.join(missing)}: no version yet; its learner writes the first"
    if not same and len(missing) < len(chosen) - 1:
        yield "the versions have not learned the same examples, so the values are not comparable event by event"
