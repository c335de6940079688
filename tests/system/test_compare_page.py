"""The page of `millstream models compare --html` in a browser: on a telephone, too, nothing of it is cut off."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from compared_events import HOUR, Drawn, comparisons, drawn, stream_file
from system.browser import Browser, Page, browser

from millstream.evaluation.compare.compare import Comparing
from millstream.evaluation.compare.facets import By
from millstream.evaluation.compare.log import Arrived, Period, Predicted
from millstream.evaluation.compare.results import Results
from millstream.stream.load import load_stream
from schemas.comparisons import read_comparison

WIDTHS = (375, 1200)
WIDER = """
(() => {
  const scrolls = node => node && (node.matches(".wide") || scrolls(node.parentElement));
  const seen = document.documentElement.clientWidth;
  return [...document.querySelectorAll("body *")]
    .filter(node => !scrolls(node.parentElement) && node.getBoundingClientRect().right > seen + 0.5)
    .map(node => node.outerHTML.slice(0, 80));
})()
"""
"""Elements beyond the right edge that are not in a table or chart, which scroll by themselves."""
COLUMN = """
[...document.querySelectorAll(".wide")].filter(each => each.scrollWidth > each.clientWidth && each.querySelector("td"))
  .map(each => { each.scrollLeft = 10000;
    const first = each.querySelector("tr:last-child > :first-child").getBoundingClientRect();
    return first.left >= each.getBoundingClientRect().left - 0.5 && first.width < 0.6 * each.clientWidth; })
"""
"""For each table that scrolls: whether the names of its rows stay in sight, and leave room for its values."""
CONTRAST = """
(() => {
  const light = colour => { const [r, g, b] = colour.match(/[0-9.]+/g).map(Number).map(each => each / 255)
      .map(each => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const paper = light(getComputedStyle(document.querySelector(".ms")).backgroundColor);
  return Math.min(...[...document.querySelectorAll(".ms h1, .ms p, .ms td, .ms th, .ms svg text")].map(node => {
    const style = getComputedStyle(node);
    const ink = light(node.closest("svg") ? style.fill : style.color);
    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05); }));
})()
"""
"""Lowest contrast of a text against the page."""


class DrawnLog:
    """The topics of a stream with three models, in memory."""

    name = "fraud.comparisons"

    def __init__(self, events: list[Drawn]) -> None:
        self._events = events

    def read(self, refused: Any, show: Any) -> Iterator[Arrived]:
        for record in comparisons(self._events):
            found = read_comparison(record)
            yield Arrived(found, found.shadow.time + HOUR)

    def predicted(self) -> Predicted:
        return Predicted(array("q", [each.shadow.time for each in self._events]), 0)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


def written(folder: Path, by: By | None) -> Path:
    """Write the page of a comparison, and return its path."""
    log: Any = DrawnLog(drawn(600, 1_700_000_000_000, quick_favours=0.2))
    comparing = Comparing(load_stream(stream_file(folder)), (), Period(), by)
    found = comparing._measured(log, lambda done, total: None)
    return Results(found, log.predicted(), by).report(log.name).html(folder / "page.html")


@pytest.mark.parametrize("by", [None, *get_args(By)])
def test_nothing_of_the_page_is_cut_off_and_all_can_be_read(chromium: Browser, tmp_path: Path, by: By | None) -> None:
    address = written(tmp_path, by).as_uri()

    async def look(page: Page) -> None:
        for width in WIDTHS:
            for dark in (False, True):
                await page.look(dark=dark, width=width)
                await page.open(address)
                where = width, dark
                assert await page.run("document.documentElement.scrollWidth") <= width, where
                assert await page.run(WIDER) == [], where
                columns = await page.run(COLUMN)
                assert all(columns), where
                assert columns or width > 375, "the tables scroll on a telephone, so this test sees them"
                assert await page.run(CONTRAST) >= 4.5, where

    chromium.visit(look)
