"""Millstream: an online learner on an event stream.

A stream file holds one `Stream`; `Feature` says what a feature may be, `Retention` which versions stay.
"""

from millstream.stream import InvalidStream, Stream
from model_store import Retention
from schemas.contract import Feature

__all__ = ["Feature", "InvalidStream", "Retention", "Stream"]
