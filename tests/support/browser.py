"""A headless Chromium, driven through a pipe by its DevTools protocol; nothing but the standard library."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: names that the program goes by
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_browser() -> str | None:
    """The program, if it is installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """An open page: what it did, and what can be done with it."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._buffer = b""
        self._number = 0
        self.session: str | None = None
        #: events that the browser told of, in their order
        self.events: list[dict[str, Any]] = []

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """A command, and its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (found := self._read()).get("id") != self._number:
            self.events.append(found)
        assert "error" not in found, found["error"]
        return found["result"]

    def wait_for(self, event: str) -> None:
        """Until the browser has told of an event."""
        while not any(e.get("method") == event for e in self.events):
            self.events.append(self._read())

    def _read(self, seconds: float = 60) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], max(end - time.monotonic(), 0))
            assert ready, "the browser does not answer"
            chunk = os.read(self._from, 1 << 20)
            assert chunk, "the browser has ended"
            self._buffer += chunk
        text, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(text)

    def evaluate(self, code: str) -> Any:
        """The value of an expression in the page."""
        answer = self.send("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def drag(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Press the mouse in one place of the window and let go in another."""
        for kind, x, y, held in (("mousePressed", x0, y0, 1), ("mouseMoved", x1, y1, 1), ("mouseReleased", x1, y1, 0)):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=held, clickCount=1)

    def complaints(self) -> list[str]:
        """What the console, the log and failed scripts said."""
        kinds = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        return [json.dumps(e["params"]) for e in self.events if e.get("method") in kinds]

    def requests(self) -> list[str]:
        """Addresses that the page asked for, those that it holds itself left out."""
        sent = [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith("data:")]

    def picture(self) -> bytes:
        """What the window shows, as PNG."""
        return base64.b64decode(self.send("Page.captureScreenshot")["data"])

    def pdf(self) -> bytes:
        """The page as it is printed."""
        return base64.b64decode(self.send("Page.printToPDF", preferCSSPageSize=True)["data"])


@contextmanager
def open_page(program: str, file: Path, profile: Path) -> Iterator[Page]:
    """A page in a browser of its own.

    Args:
        program: see :func:`find_browser`.
        file: the page.
        profile: folder that the browser may fill.
    """
    down_read, down_write = os.pipe()
    up_read, up_write = os.pipe()
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--window-size=1200,1600"]
    process = subprocess.Popen(
        # the browser reads from descriptor 3 and writes to 4
        ["bash", "-c", f'exec "$0" "$@" 3<&{down_read} 4>&{up_write}', program, *options, f"--user-data-dir={profile}"],
        pass_fds=(down_read, up_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(down_read)
    os.close(up_write)
    try:
        page = Page(down_write, up_read)
        target = page.send("Target.createTarget", url="about:blank")["targetId"]
        page.session = page.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.send(f"{domain}.enable")
        page.events.clear()
        page.send("Page.navigate", url=file.as_uri())
        page.wait_for("Page.loadEventFired")
        yield page
    finally:
        process.kill()
        process.wait()
        os.close(down_write)
        os.close(up_read)
