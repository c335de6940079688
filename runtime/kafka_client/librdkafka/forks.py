"""Guard against the use of a client after a fork.

The threads of librdkafka exist only in the process that made the client. In a forked child, a call would wait for them
for ever, or send on the parent's connection. The roles are forks of one process: each makes its clients after the fork.
"""

from __future__ import annotations

import os

_forks = 0


def _count() -> None:
    global _forks  # noqa: PLW0603 - one number a process, changed only by the fork itself
    _forks += 1


os.register_at_fork(after_in_child=_count)


class MadeHere:
    """Knows whether its owner was made in this process."""

    __slots__ = ("_forks",)

    def __init__(self) -> None:
        self._forks = _forks

    def check(self) -> None:
        """Raise RuntimeError in a process that was forked since."""
        if self._forks != _forks:
            raise RuntimeError("a client of librdkafka does not survive a fork: make it in the process that uses it")
