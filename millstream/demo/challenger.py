"""End of a demo with several models: what was decided, by whom and why, and the models side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from millstream.evaluation.compare.compare import Comparing
from millstream.evaluation.compare.log import Period
from millstream.evaluation.compare.report import ModelComparison
from millstream.reading.decision_history import read_history, row
from model_store import open_store

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.stream.load import LoadedStream
    from runtime.kafka_client.cluster import Cluster
    from schemas.topics import Names


def look_back(loaded: LoadedStream, cluster: Cluster, names: Names, settings: Settings) -> dict[str, Any]:
    """Compare the models, write the page of it into the home folder, and return what happened as plain values."""
    store = open_store(settings.models, settings.keys, sign=False)
    report = Comparing(loaded, (), Period(), None).run(cluster, names, store, lambda done, total: None)
    page = report.html(settings.home / f"demo-{names.stream}.html")
    return {
        "decisions": [row(each) for each in read_history(cluster, names)],
        "served": report.served if isinstance(report, ModelComparison) else {},
        "comparison": report.to_dict(),
        "page": str(page),
    }


def words(found: Mapping[str, Any], stream: str) -> Iterator[str]:
    """Yield what happened, as text."""
    yield ""
    promotions = [each for each in found["decisions"] if each["in_force"]]
    for each in promotions:
        yield f"  {each['by']}: {each['decision']}: {each['why']}"
    if not promotions:
        yield "  no model was promoted: the rule had not seen enough labels, or no clear difference"
    if found["served"]:
        served = ", ".join(f"{name} {count:,}" for name, count in found["served"].items())
        yield f"  labelled events by the model that served them: {served}"
    for each in found["comparison"].get("pairs", ()):
        loss, bounds = each["loss"], each["at_any_time"]
        yield (
            f"  loss of {each['of']} minus {each['than']} on the same events: {loss['value']:+.4f} "
            f"(at any time {bounds['low']:+.4f} to {bounds['high']:+.4f})"
        )
    yield f"  the models side by side: {found['page']}"
    yield ""
    yield "Ask more:"
    yield ""
    for command in (
        f"models compare {stream} --by slice",
        f"models history {stream}",
        f'models rollback {stream} --why "to try it"',
    ):
        yield f"  millstream {command}"
