"""Lines of JSON from a process that trains to its trainer."""

from __future__ import annotations

import threading
import time
from typing import IO, Final

import msgspec

from consumers.trainer.training_messages import TrainingFailed, TrainingMessage, TrainingProgress, TrainingResult

_EACH_SECONDS: Final = 0.5
_encoder: Final = msgspec.json.Encoder()


class Messages:
    """Sends messages; several threads may use it.

    After a result or a failure nothing more is sent: the first of them counts.
    """

    def __init__(self, sink: IO[bytes]) -> None:
        self._sink = sink
        self._lock = threading.Lock()
        self._ended = False
        self._text = ""
        self._sent = 0.0

    def progress(self, done: int, of: int, text: str) -> None:
        """Send how far it has come, but not more than twice a second for the same text."""
        now = time.monotonic()
        if text != self._text or now - self._sent >= _EACH_SECONDS:
            self._text, self._sent = text, now
            self.send(TrainingProgress(done, of, text))

    def send(self, message: TrainingMessage) -> None:
        """Send a message. A trainer that is gone is not missed: the process ends by itself."""
        with self._lock:
            if self._ended:
                return
            self._ended = isinstance(message, (TrainingFailed, TrainingResult))
            try:
                self._sink.write(_encoder.encode(message) + b"\n")
                self._sink.flush()
            except OSError:
                self._ended = True
