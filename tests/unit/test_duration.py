"""Durations in text form."""

from __future__ import annotations

import pytest

from millstream.stream.duration import InvalidDuration, milliseconds


@pytest.mark.parametrize("span", ["", "soon", "2", "h", "-1h", "1 h 2 m", "1e3s", "9" * 400 + "d", "9" * 308 + "d"])
def test_what_is_no_duration_is_refused_in_few_words(span: str) -> None:
    with pytest.raises(InvalidDuration) as refused:
        milliseconds(span)
    assert len(str(refused.value)) < 100
