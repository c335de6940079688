"""What goes wrong with a stream file, said in one line."""

from __future__ import annotations


class LoadError(Exception):
    """A stream cannot be had from its file; the message names the file, the place in it, and the way out."""


class InvalidStream(ValueError):  # noqa: N818
    """The stream's own definition cannot work; the message names the argument and what it may be."""
