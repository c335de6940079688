"""Ctrl-C and SIGTERM set an event, wherever the main thread is at that moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from runtime.stop_signals import stop_on_signals

# What a signal meets that comes while the main thread is within `stop.wait`: the lock of `stop` taken, by that thread.
WITHIN_A_WAIT = """
import signal, sys, threading
from runtime.stop_signals import stop_on_signals

stop = threading.Event()
with stop_on_signals(stop):
    with stop._cond:
        for name in sys.argv[1:]:
            signal.raise_signal(signal.Signals[name])
    sys.exit(0 if stop.wait(30) else 1)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_a_second_ctrl_c_insists(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    stop = threading.Event()
    with stop_on_signals(stop):
        os.kill(os.getpid(), number)
        assert stop.wait(5)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("signals", [["SIGINT"], ["SIGTERM", "SIGTERM"]], ids=" ".join)
def test_a_signal_within_a_wait_for_the_event_ends_that_wait(signals: list[str]) -> None:
    ended = subprocess.run([sys.executable, "-c", WITHIN_A_WAIT, *signals], check=False, timeout=60)
    assert ended.returncode == 0


def test_outside_the_main_thread_handlers_stay_as_they_are() -> None:
    before = signal.getsignal(signal.SIGINT)
    inside: list[object] = []

    def work() -> None:
        with stop_on_signals(threading.Event()):
            inside.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [before]
