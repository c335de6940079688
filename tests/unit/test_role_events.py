"""What a role tells its supervisor: in order with what it prints, and by nobody but the role."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from millstream.processes import role_events
from millstream.processes.role_events import RoleEvent, follow


class Told:
    """Both pipes of a child, and what is received from them."""

    def __init__(self) -> None:
        self.received: list[RoleEvent | str] = []
        self._output, self._print_on = os.pipe()
        self._events, self._tell_on = os.pipe()
        self._thread = threading.Thread(target=self._receive)
        self._thread.start()

    def _receive(self) -> None:
        self.received.extend(follow(self._output, self._events))

    def write(self, data: bytes) -> None:
        os.write(self._print_on, data)

    def tell(self, data: bytes) -> None:
        os.write(self._tell_on, data)

    def end_events(self) -> None:
        os.close(self._tell_on)
        self._tell_on = -1

    def end(self) -> None:
        """End both, and wait until all is received."""
        os.close(self._print_on)
        self._thread.join(20)
        for descriptor in (self._tell_on, self._output, self._events):
            if descriptor >= 0:
                os.close(descriptor)


def test_events_come_before_what_is_printed_after_them() -> None:
    child = Told()
    for number in range(300):
        child.tell(b'{"kind":"failed","line":"%d"}\n' % number)
        child.write(b"%d\n" % number)
    child.end()
    assert len(child.received) == 600
    for number in range(300):
        assert child.received.index(RoleEvent("failed", str(number))) < child.received.index(str(number))


def test_lines_and_events_may_come_in_pieces_and_the_last_line_without_an_end() -> None:
    child = Told()
    child.tell(b'{"kind":"re')
    child.write("aä".encode()[:2])
    child.tell(b'ady","line":"r"}\n{"kind":"of a newer version"}\nrubbish\n{"kind":"ready"')
    child.write("aä".encode()[2:] + b"b  \n\nlast \xff")
    child.end()
    assert [each for each in child.received if isinstance(each, RoleEvent)] == [RoleEvent("ready", "r")]
    lines = [each for each in child.received if isinstance(each, str)]
    assert lines == ["aäb", "", "last \N{REPLACEMENT CHARACTER}"]


def test_lines_are_read_on_where_a_child_has_closed_its_events() -> None:
    child = Told()
    child.end_events()
    child.write(b"one\ntwo\n")
    child.end()
    assert child.received == ["one", "two"]


_TELLS = """
import os, subprocess, sys
from millstream.processes import role_events
role_events.begin()
told = subprocess.run(
    [sys.executable, "-c", "from millstream.processes import role_events as e; e.begin(); e.ready('ready: theirs')"],
    check=True, capture_output=True, text=True, close_fds=False,
)
print(told.stdout, end="", flush=True)
role_events.ready("ready: mine", event="assigned")
"""


def test_a_role_tells_and_what_it_starts_does_not() -> None:
    events, tell_on = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", _TELLS],
        stdout=subprocess.PIPE,
        pass_fds=(tell_on,),
        env={**os.environ, **role_events.variables(tell_on)},
    ) as process:
        os.close(tell_on)
        assert process.stdout is not None
        found = list(follow(process.stdout.fileno(), events))
    os.close(events)
    assert [each for each in found if isinstance(each, RoleEvent)] == [RoleEvent("ready", "ready: mine")]
    assert [each for each in found if isinstance(each, str)] == ["ready: theirs", "ready: mine"]


def test_where_nobody_listens_it_is_said_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    role_events.failed("joiner", "no disk")
    role_events.ready("ready: 1 partitions")
    assert capsys.readouterr() == ("ready: 1 partitions\n", "joiner: no disk\n")


@pytest.mark.parametrize("given", ["", "none", "-1", "99999999999999999999", "1048000"])
def test_a_variable_that_names_no_descriptor_is_nothing(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(role_events.VARIABLE, given)
    monkeypatch.setattr(role_events, "_CHANNEL", role_events._Channel())
    role_events.begin()
    role_events.ready("ready: 1 partitions")
    assert role_events.VARIABLE not in os.environ
