"""Keeper of the embedded broker: starts it again when it dies under a run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final

from millstream.embedded_kafka.broker import BrokerError, EmbeddedBroker

_LOOK_S: Final = 0.5
_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 30.0
_END_S: Final = 30.0


class BrokerKeeper:
    """Looks at the embedded broker in a thread, and starts it again after it was killed or has crashed.

    A broker that was stopped with `millstream broker stop` stays stopped. Its data survive every end, so no event is
    lost; roles wait until it is back.

    Parameters
    ----------
    say
        Takes one line. Called from the thread.
    """

    def __init__(self, broker: EmbeddedBroker, say: Callable[[str], None]) -> None:
        self._broker = broker
        self._say = say
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="broker-keeper", daemon=True)

    def __enter__(self) -> BrokerKeeper:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(_END_S)  # a start that is under way is not left half done

    def _keep(self) -> None:
        wait, told = _LOOK_S, ""
        while not self._stop.wait(wait):
            if not self._broker.died():
                wait, told = _LOOK_S, ""
                continue
            if not told:
                self._say("the embedded broker has died; starting it again, with its data")
            try:
                self._broker.revive(self._say)
                address = self._broker.address()  # of one that somebody else has started meanwhile, too
                self._say(f"the embedded broker listens again at {address}" if address else "it was stopped meanwhile")
                wait, told = _LOOK_S, ""
            except BrokerError as error:
                wait = min(2 * wait, _LONGEST_WAIT_S) if told else _FIRST_WAIT_S
                if str(error) != told:
                    self._say(f"{error}; trying again")
                told = str(error)
