"""Errors of the model store; each docstring says what the caller must do."""

from __future__ import annotations


class StoreError(Exception):
    """The model store could not carry out a request."""


class NotFound(StoreError):  # noqa: N818
    """There is no such version or object: `millstream models list STREAM` shows what there is."""


class AlreadyExists(StoreError):  # noqa: N818
    """The name is taken and is never overwritten: compare the contents, and adopt them if they are equal."""


class StoreUnavailable(StoreError):  # noqa: N818
    """The store cannot be written or read now (full, read-only, broken): try again later."""


class CannotPickle(StoreError):  # noqa: N818
    """The model holds something that cannot be saved; name it in the stream file as a def or a class."""


class InvalidObjectName(StoreError, ValueError):  # noqa: N818
    """The name is invalid in a store; the message shows it."""


class VersionRefused(StoreError):  # noqa: N818
    """A version that must not be loaded. The serving version continues to serve."""


class BadSignature(VersionRefused):
    """No trusted key signed the version: it is forged, or its key is not in the keys folder."""


class RevokedKey(BadSignature):
    """The version's key was revoked: rebuild it by replay, or serve a version of another key."""


class Damaged(VersionRefused):
    """The version's bytes differ from its manifest: restore it from a copy, or rebuild it by replay."""


class WrongLibraries(VersionRefused):
    """The version was made with other libraries: rebuild it by replay, or run it with those."""


class PickleNotAllowed(VersionRefused):
    """The version's pickle names something that no model of this stream needs; nothing was run."""
