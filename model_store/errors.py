"""What can go wrong between a model and its store. Each says what the caller must do."""

from __future__ import annotations


class StoreError(Exception):
    """The model store could not do what was asked."""


class NotFound(StoreError):  # noqa: N818
    """There is no such version or object: `millstream models list STREAM` shows what there is."""


class AlreadyExists(StoreError):  # noqa: N818
    """The name is taken, and what has it is never overwritten: compare, and adopt it if it is the same."""


class StoreUnavailable(StoreError):  # noqa: N818
    """The place of the store cannot be written or read now (full, read-only, broken): try again later."""


class CannotPickle(StoreError):  # noqa: N818
    """The model holds something that cannot be saved; name it in the stream file as a def or a class."""


class InvalidObjectName(StoreError, ValueError):  # noqa: N818
    """Not a name that anything in a store can have; the message shows it."""


class VersionRefused(StoreError):  # noqa: N818
    """A version that must not be loaded. What serves goes on serving."""


class BadSignature(VersionRefused):
    """No trusted key signed it: it is forged, or its key is not in the keys folder."""


class RevokedKey(BadSignature):
    """Its key is trusted no more: rebuild it by replay, or serve a version of another key."""


class Damaged(VersionRefused):
    """Its bytes are not what its manifest says: restore it from a copy, or rebuild it by replay."""


class WrongLibraries(VersionRefused):
    """Other library versions made it: rebuild it by replay, or run it with those."""


class PickleNotAllowed(VersionRefused):
    """Its pickle names something that no model of this stream needs: nothing was run."""
