"""Scraping, as Prometheus does it."""

from __future__ import annotations

import urllib.error
import urllib.request

from prometheus_client.parser import text_string_to_metric_families


class Scrape:
    """What one scrape has shown."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self._values: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in self.families.values():
            for sample in family.samples:
                labels = {name: value for name, value in sample.labels.items() if name not in ("stream", "role")}
                self._values[sample.name, frozenset(labels.items())] = sample.value

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of the sample with exactly these labels, beside those that all have."""
        return self._values.get((name, frozenset(labels.items())))

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of all samples that have these labels, whatever else they have."""
        wanted = frozenset(labels.items())
        return sum(value for (each, has), value in self._values.items() if each == name and wanted <= has)


def get(url: str) -> tuple[int, str]:
    """Return status and text of an answer, whatever the status."""
    assert url.startswith("http://127.0.0.1:")
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - see above
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def scrape(url: str) -> Scrape:
    """Return what is at ``url``/metrics."""
    status, text = get(url + "/metrics")
    assert status == 200, text
    return Scrape(text)
