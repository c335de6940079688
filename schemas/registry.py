"""A schema registry, as Confluent's REST interface describes it."""

from __future__ import annotations


class Registry:
    """A client of a schema registry."""
