"""Two servers behind HAProxy, restarted one after the other under load: no request fails, and each is logged once."""

from __future__ import annotations

import random
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from faults.http_rig import Caller, HttpRig, free_port
from faults_table import Tally

from millstream.processes.fork_server import ForkServer

DOCUMENT = Path(__file__).parents[2] / "docs" / "http.md"
CALLERS = 4
DRAIN = "5s"  # as the document says
pytestmark = pytest.mark.skipif(shutil.which("haproxy") is None, reason="HAProxy is not installed")


class StrictCaller(Caller):
    """A caller to whom everything but an answer is a fault."""

    def _insist(self, client: httpx.Client, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        try:
            response = client.post(path, json=body)
        except httpx.TransportError as error:
            self.faults.append(f"{path}: {error!r}")
            raise
        if response.status_code not in (200, 202, 422):
            self.faults.append(f"{path} {body}: {response.status_code} {response.text}")
        answer: dict[str, Any] = response.json()
        return response.status_code, answer


class Proxy:
    """HAProxy as the document configures it, before two servers."""

    def __init__(self, folder: Path, ports: tuple[int, int]) -> None:
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self._socket = folder / "haproxy.sock"
        self._file = folder / "haproxy.cfg"
        [text] = re.findall(r"```haproxy\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
        for there, here in {":8080": self.port, ":8082": ports[0], ":8083": ports[1]}.items():
            assert text.count(there) == 1
            text = text.replace(there, f":{here}")
        self._file.write_text(f"global\n    stats socket {self._socket}\n\n{text}")

    @contextmanager
    def running(self) -> Iterator[None]:
        process = subprocess.Popen(["haproxy", "-f", self._file], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            process.kill()
            print(process.communicate()[0].decode())

    def sees(self) -> dict[str, str]:
        """Return the state in which it sees each server, and the requests that failed."""
        if not self._socket.exists():
            return {}
        with socket.socket(socket.AF_UNIX) as asked:
            asked.connect(str(self._socket))
            asked.sendall(b"show stat\n")
            lines = asked.makefile().read().strip("# \n").splitlines()
        names = lines[0].split(",")
        rows = [dict(zip(names, line.split(","), strict=False)) for line in lines[1:]]
        return {row["svname"]: row["status"] for row in rows if row["pxname"] == "servers"}


@pytest.mark.fault("F24")
@pytest.mark.full
def test_a_rolling_restart_behind_haproxy_fails_no_request(
    bootstrap: str,
    prefix: str,
    tmp_path: Path,
    fork_server: ForkServer,
    rng: random.Random,
    rounds: Callable[[int, int], int],
    tally: Tally,
) -> None:
    times = rounds(1, 3)
    with HttpRig(bootstrap, prefix, tmp_path, fork_server, 40) as http:
        ports = free_port(), free_port()
        proxy = Proxy(tmp_path, ports)
        with proxy.running():
            for role in ("joiner", "learner"):
                http.start(role)
            http.start_http("forwarder")
            servers = [
                http.start_http("server", "--port", str(port), "--drain", DRAIN, "--worker", instance=str(number))
                for number, port in enumerate(ports)
            ]
            both = {"first": "UP", "second": "UP"}
            http.until(lambda: both.items() <= proxy.sees().items(), "HAProxy to see both servers")
            http.base = proxy.base
            callers = [StrictCaller(proxy.base, rng, http.rate) for _ in range(CALLERS)]
            for caller in callers:
                caller.start()
            http.until(lambda: http.learned() >= 1, "the first to be learned")
            for _ in range(times):
                for server, name in zip(servers, both, strict=True):
                    heard = sum(len(caller.heard) for caller in callers)
                    server.end()
                    assert "UP" not in proxy.sees()[name], "it was taken out before it ended"
                    server.start()
                    http.until(lambda: both.items() <= proxy.sees().items(), f"HAProxy to see {name} again")
                    assert sum(len(caller.heard) for caller in callers) > heard + 50, "the other one answered meanwhile"
            for caller in callers:
                caller.end()
            assert [fault for caller in callers for fault in caller.faults] == []
            http.caller = callers[0]
            for caller in callers[1:]:
                http.caller.heard |= caller.heard
                http.caller.labels |= caller.labels
            http.judge_http()
    tally.row(2 * times, 0, 0)
