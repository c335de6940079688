"""The embedded broker: a real Apache Kafka on this machine, for users without a Kafka cluster.

One process is broker and controller (KRaft); it listens on the loopback address only and outlives the command that
started it. All its files are in one folder::

    server.properties, log4j2.properties   rewritten at each start
    broker.pid, port                       its process, and where it is reached
    data/                                  the topics; survives `stop` and kill -9
    logs/                                  output of Kafka, rotated; console.log is that of Java
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from millstream.embedded_kafka.class_data_sharing import archive_options
from millstream.embedded_kafka.errors import BrokerError
from millstream.embedded_kafka.jars import KAFKA_VERSION, ensure_jars, jar_paths
from millstream.embedded_kafka.java import Compiler, Java, compiler_of, compiler_options, find_java
from millstream.embedded_kafka.process import (
    POLL_SECONDS,
    alive,
    await_end,
    bytes_on_disk,
    listener_on,
    reason_in,
    tail,
    takes_requests,
)
from millstream.embedded_kafka.server_properties import (
    DEFAULT_PORT,
    free_port,
    is_free,
    log4j_properties,
    server_properties,
)
from millstream.embedded_kafka.stale_session import end_leftover, end_session, was_killed

__all__ = ["DEFAULT_PORT", "BrokerError", "BrokerStatus", "EmbeddedBroker"]

_LEAST_FREE_BYTES: Final = 200 * 2**20
_MAIN_CLASS: Final = "kafka.Kafka"
# The shell ends at once, so the broker is not a child of this process and leaves no zombie when it ends.
_DETACH: Final = 'pid_file=$1; console=$2; shift 2; "$@" >"$console" 2>&1 </dev/null & echo $! >"$pid_file"'


@dataclass(frozen=True)
class BrokerStatus:
    """State of the embedded broker."""

    running: bool
    bootstrap: str
    """``host:port``; for a stopped broker, the address that it will have."""
    pid: int | None
    home: Path
    kafka_version: str
    java: str | None
    """The Java that runs it."""
    compiler: Compiler | None
    """Compilers that its Java uses: ``c1`` for the first alone."""
    data_bytes: int
    """Size of its data on the disk, in bytes."""


class EmbeddedBroker:
    """Starts, stops and inspects the broker of one folder.

    Parameters
    ----------
    home
        The broker's folder, created at the first start.
    port
        Port for clients, on 127.0.0.1. `None` is the last one used, else 19092; 0 is the last one used, else any free
        port.
    properties
        Additional Kafka settings, which override Millstream's.
    java_options
        Additional options of Java.
    compiler
        ``c2`` also uses Java's second compiler: faster once warm, for more CPU in the first minutes and more memory.

    Examples
    --------
    ::

        broker = EmbeddedBroker(Path("~/.millstream/broker").expanduser())
        print(broker.start(say=print).bootstrap)
    """

    def __init__(
        self,
        home: Path,
        *,
        port: int | None = None,
        properties: Mapping[str, str] | None = None,
        java_options: Sequence[str] = (),
        compiler: Compiler = "c1",
    ) -> None:
        self._compiler = compiler
        self._java_options = list(java_options)
        self._home = home.expanduser().absolute()
        self._wanted_port = port
        self._properties = dict(properties or {})
        self._data = self._home / "data"
        self._settings = self._home / "server.properties"
        self._pid_file = self._home / "broker.pid"
        self._port_file = self._home / "port"
        self._log = self._home / "logs" / "server.log"
        self._console = self._home / "logs" / "console.log"

    def start(self, say: Callable[[str], None] = lambda _: None, timeout: float = 60) -> BrokerStatus:
        """Start the broker unless it runs, and return when it accepts requests.

        Parameters
        ----------
        say
            Prints a line about slow steps: a download, a first start.
        timeout
            Seconds from the start of Java to the first answer, without downloads and waiting for another starter.

        Raises
        ------
        BrokerError
            If the broker cannot start; it is then not running.
        """
        with self._usable(), self._alone():
            running = self._process()
            if running is not None:
                self._compare(running, say)
            # The running broker may have been killed in this moment.
            if running is None or not self._answers(running, timeout):
                self._launch(say, timeout)
        return self.status()

    def died(self) -> bool:
        """Return whether the broker ended without having been stopped: its pid is noted, and it does not run."""
        return self._pid_file.exists() and self._process() is None

    def revive(self, say: Callable[[str], None] = lambda _: None, timeout: float = 60) -> BrokerStatus | None:
        """Start a broker that died; do nothing and return `None` if it was stopped or runs. Raises BrokerError."""
        with self._usable(), self._alone():  # a `stop` that is under way has the lock until it has noted the end
            if not self.died():
                return None
            try:
                self._launch(say, timeout)
            except BrokerError:
                self._pid_file.touch()  # it is still not a broker that was stopped
                raise
        return self.status()

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """Turn errors of the disk into BrokerError."""
        try:
            yield
        except OSError as error:
            raise BrokerError(
                f"the embedded broker cannot use its folder {self._home}: {error.strerror or error}; "
                "make room or access there, or set MILLSTREAM_HOME to another folder"
            ) from error

    def stop(self, timeout: float = 30) -> bool:
        """Shut the broker down and keep its data; return whether it was running.

        After `timeout` seconds the broker is killed; its data survive that.
        """
        with self._alone():
            end_leftover(self._home)
            process = self._process()
            if process is None:
                self._pid_file.unlink(missing_ok=True)
                return False
            try:
                process.terminate()
                await_end(process, timeout)
            except psutil.TimeoutExpired:
                self.kill()
            except psutil.NoSuchProcess:
                pass
            self._pid_file.unlink(missing_ok=True)
            return True

    def kill(self) -> None:
        """End the broker at once, as a power cut would (kill -9)."""
        process = self._process()
        if process is None:
            return
        try:
            process.kill()
            await_end(process, 10)
        except psutil.NoSuchProcess:
            pass
        except psutil.TimeoutExpired as error:
            raise BrokerError(f"process {process.pid}, the broker, does not end; the disk may be stuck") from error

    def address(self) -> str | None:
        """Return ``host:port`` if the broker is running, else `None`; unlike `status` it does not measure the data."""
        return f"127.0.0.1:{self._port()}" if self._process() is not None else None

    def status(self) -> BrokerStatus:
        """Return the current state."""
        process = self._process()
        java = compiler = None
        if process is not None:
            try:
                command = process.cmdline()
                java, compiler = command[0], compiler_of(command)
            except (psutil.Error, IndexError):
                process = None
        return BrokerStatus(
            running=process is not None,
            bootstrap=f"127.0.0.1:{self._port()}",
            pid=process.pid if process is not None else None,
            home=self._home,
            kafka_version=KAFKA_VERSION,
            java=java,
            compiler=compiler,
            data_bytes=bytes_on_disk(self._data),
        )

    def reset(self) -> None:
        """End the broker and delete all its topics and its logs; it keeps its port."""
        self.stop()
        with self._alone():
            shutil.rmtree(self._data, ignore_errors=True)
            shutil.rmtree(self._log.parent, ignore_errors=True)

    def _launch(self, say: Callable[[str], None], timeout: float) -> None:
        end_leftover(self._home)
        port = self._choose_port()
        java = find_java()
        ensure_jars(say)
        free = shutil.disk_usage(self._home).free
        if free < _LEAST_FREE_BYTES:
            raise BrokerError(
                f"only {free // 2**20} MB are free for {self._home}, and the broker needs "
                f"{_LEAST_FREE_BYTES // 2**20}; make room, or set MILLSTREAM_HOME to another folder"
            )
        self._log.parent.mkdir(exist_ok=True)
        self._log.unlink(missing_ok=True)
        (self._home / "log4j2.properties").write_text(log4j_properties(self._log), encoding="utf-8")
        if not (self._data / "meta.properties").exists():
            say("preparing the broker's storage")
            self._format(java, port)
        command = [*self._java_command(java), _MAIN_CLASS]
        if was_killed(self._data):
            say("the broker was not stopped in order; ending its old session")
            end_session(command, self._home, self._data, self._log)
        self._write_settings(self._settings, self._data, port)
        self._port_file.write_text(f"{port}\n", encoding="utf-8")
        subprocess.run(
            ["/bin/sh", "-c", _DETACH, "sh", str(self._pid_file), str(self._console), *command, str(self._settings)],
            start_new_session=True,
            cwd=self._home,
            check=True,
        )
        process = self._process()
        if process is None or not self._answers(process, timeout):
            self._pid_file.unlink(missing_ok=True)
            raise self._failure("Kafka ended while it started")

    def java_options(self) -> list[str]:
        """Return Java's options, including the class path."""
        return [
            "-Xmx512m",
            # It starts faster than G1 and needs less memory; the small heap needs no better collector.
            "-XX:+UseSerialGC",
            *compiler_options(self._compiler),
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={self._home / 'log4j2.properties'}",
            *self._java_options,
            "-cp",
            os.pathsep.join(map(str, jar_paths())),
        ]

    def _java_command(self, java: Java) -> list[str]:
        return [str(java.executable), *archive_options(java), *self.java_options()]

    def _write_settings(self, file: Path, data: Path, port: int) -> None:
        text = server_properties(data=data, port=port, controller_port=free_port(), extra=self._properties)
        file.write_text(text, encoding="utf-8")

    def _format(self, java: Java, port: int) -> None:
        """Create the data folder with its cluster id, completely or not at all."""
        unfinished = self._home / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        settings = self._home / "format.properties"
        self._write_settings(settings, unfinished, port)
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if cluster.startswith("-"):
            cluster = "A" + cluster[1:]  # a leading dash would look like an option
        tool = [*compiler_options("c1"), "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(settings)]
        with self._console.open("wb") as console:
            done = subprocess.run(
                [*self._java_command(java), *tool],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                cwd=self._home,
                check=False,
            )
        settings.unlink()
        if done.returncode != 0:
            raise self._failure("Kafka could not prepare its storage")
        shutil.rmtree(self._data, ignore_errors=True)
        unfinished.replace(self._data)

    def _answers(self, process: psutil.Process, timeout: float) -> bool:
        """Wait until the broker answers or ends; return whether it answers."""
        deadline = time.monotonic() + timeout
        while not takes_requests(self._port()):
            if not alive(process):
                return False
            if time.monotonic() > deadline:
                self.kill()
                raise self._failure(f"Kafka did not answer within {timeout:g} s and was ended")
            time.sleep(POLL_SECONDS)
        return alive(process)

    def _failure(self, what: str) -> BrokerError:
        return BrokerError(f"{what}: {reason_in(tail(self._log) + tail(self._console))} (see {self._log.parent})")

    def _port(self) -> int:
        try:
            return int(self._port_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return self._wanted_port or DEFAULT_PORT

    def _choose_port(self) -> int:
        if self._wanted_port == 0 and not self._port_file.exists():
            return free_port()
        port = self._wanted_port or self._port()
        if not is_free(port):
            raise BrokerError(
                f"port {port} is taken by {listener_on(port)}; end that, choose another port with --port, "
                "or name a Kafka that already runs with MILLSTREAM_BOOTSTRAP"
            )
        return port

    def _compare(self, running: psutil.Process, say: Callable[[str], None]) -> None:
        """Refuse another port than the running broker's; say if it has other compilers than those wanted."""
        if self._wanted_port and self._wanted_port != self._port():
            raise BrokerError(f"the broker already runs on port {self._port()}; stop it before it moves to another")
        with contextlib.suppress(psutil.Error):
            if (used := compiler_of(running.cmdline())) != self._compiler:
                say(f"the broker runs already, with compiler {used}; `millstream broker stop` first to change that")

    def _process(self) -> psutil.Process | None:
        """Return the broker's process; another process that reuses its pid does not count."""
        try:
            process = psutil.Process(int(self._pid_file.read_text(encoding="utf-8")))
        except (OSError, ValueError, psutil.NoSuchProcess):
            return None
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                # Another process has killed it in this moment.
                await_end(process, 5)
                return None
        except psutil.Error:
            return None
        return process if self._is_ours(process) else None

    def _is_ours(self, process: psutil.Process) -> bool:
        deadline = time.monotonic() + 5
        while True:
            try:
                command = process.cmdline()
            except psutil.Error:
                return False
            # For a moment the process is still the shell that becomes Java, or has no command line.
            if (command and command[:2] != ["/bin/sh", "-c"]) or time.monotonic() > deadline:
                return bool(command[-2:] == [_MAIN_CLASS, str(self._settings)])
            time.sleep(POLL_SECONDS)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Lock out other starters; the next one finds this one's broker."""
        self._home.mkdir(parents=True, exist_ok=True)
        with (self._home / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
