"""Errors of a stream file, each with a message of one line."""

from __future__ import annotations


class LoadError(Exception):
    """A stream cannot be loaded from its file; the message names the file, the line, and the remedy."""


class InvalidStream(ValueError):  # noqa: N818
    """The definition of the stream is invalid; the message names the argument and its valid values."""
