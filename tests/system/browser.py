"""Chromium without a window, driven by its DevTools protocol."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest

T = TypeVar("T")
_SECONDS = 30
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass
class Page:
    """A page that is open. Its methods wait until the browser has done what they ask for."""

    socket: aiohttp.ClientWebSocketResponse
    events: list[dict[str, Any]] = field(default_factory=list)
    """What the browser has told so far."""
    _sent: int = 0

    async def call(self, method: str, **given: Any) -> Any:
        self._sent += 1
        number = self._sent
        await self.socket.send_json({"id": number, "method": method, "params": given})
        while True:
            told = await self._next()
            if told.get("id") == number:
                assert "error" not in told, (method, told)
                return told["result"]

    async def until(self, method: str) -> None:
        """Wait for an event that has not come yet."""
        while (await self._next()).get("method") != method:
            pass

    async def _next(self) -> dict[str, Any]:
        told: dict[str, Any] = await self.socket.receive_json(timeout=_SECONDS)
        if "method" in told:
            self.events.append(told)
        if told.get("method") == "Page.javascriptDialogOpening":  # it would hold everything up
            await self.socket.send_json({"id": -1, "method": "Page.handleJavaScriptDialog", "params": {"accept": True}})
        return told

    async def open(self, address: str) -> None:
        await self.call("Page.navigate", url=address)
        await self.until("Page.loadEventFired")

    async def run(self, script: str) -> Any:
        """Return the value of an expression, or of the promise that it is."""
        done = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    async def look(self, *, dark: bool, width: int, height: int = 800) -> None:
        """Take a colour scheme and a size, in CSS pixels."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])
        size = {"width": width, "height": height, "deviceScaleFactor": 1}
        await self.call("Emulation.setDeviceMetricsOverride", mobile=width < 600, **size)

    def told(self, method: str) -> list[dict[str, Any]]:
        return [each["params"] for each in self.events if each["method"] == method]


class Browser:
    """A running browser."""

    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}"

    def visit(self, work: Callable[[Page], Awaitable[T]]) -> T:
        """Open an empty page, and return what is made of it."""
        return asyncio.run(self._visit(work))

    async def _visit(self, work: Callable[[Page], Awaitable[T]]) -> T:
        async with aiohttp.ClientSession() as session:
            async with session.put(f"{self._address}/json/new?about:blank") as made:
                found = await made.json(content_type=None)
            async with session.ws_connect(found["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                page = Page(socket)
                for domain in ("Page", "Network", "Runtime", "Log"):
                    await page.call(f"{domain}.enable")
                async with asyncio.timeout(_SECONDS):
                    return await work(page)


@contextmanager
def browser(folder: Path, *names: str) -> Iterator[Browser]:
    """Run a browser for which some names are this machine, as if their owners had said so."""
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip("no Chromium here, in which pages of attackers are opened")
    rules = ", ".join(f"MAP {name} 127.0.0.1" for name in names)
    process = subprocess.Popen(
        [
            program,
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", f"--host-resolver-rules={rules}"),
            *("--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Browser(_port(folder / "DevToolsActivePort", process))
    finally:
        process.terminate()
        process.wait(_SECONDS)


def _port(file: Path, process: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + _SECONDS
    while not (file.exists() and file.read_text().count("\n")):
        assert process.poll() is None, f"the browser has ended with {process.returncode}"
        assert time.monotonic() < deadline, "the browser does not start"
        time.sleep(0.05)
    return int(file.read_text().splitlines()[0])


def json_text(value: Any) -> str:
    """Return a value as an expression of JavaScript."""
    return json.dumps(value)
