"""Drives headless Chromium as a person would: opens a page, chooses a file, reads what is shown.

It speaks the Chrome DevTools Protocol over a pipe: JSON messages that end with a zero byte.
"""

import json
import os
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_SECONDS = 60.0


class Chromium:
    """A browser of its own, with an empty profile."""

    def __init__(self, profile: Path) -> None:
        self._profile = profile
        self._number = 0

    def __enter__(self) -> Self:
        from_us, self._write = os.pipe()
        self._read, to_us = os.pipe()
        options = (
            f"--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
            f"--disable-component-update --disable-sync --user-data-dir={self._profile} --remote-debugging-pipe"
        )
        self._process = subprocess.Popen(
            ["bash", "-c", f"exec chromium {options} 3<&{from_us} 4>&{to_us} 2>/dev/null"], pass_fds=(from_us, to_us)
        )
        os.close(from_us)
        os.close(to_us)
        self._messages = os.fdopen(self._read, "rb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._messages.close()
        os.close(self._write)

    def open(self, url: str) -> "BrowserPage":
        """Open a page in a tab of its own."""
        target = self.call("Target.createTarget", {"url": url})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = BrowserPage(self, session)
        page.wait_for("location.href !== 'about:blank' && document.readyState === 'complete'")
        return page

    def call(self, method: str, parameters: dict[str, Any], session: str = "") -> dict[str, Any]:
        """Call a method of the protocol, and return its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer: dict[str, Any] = json.loads(self._next_message())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def _next_message(self) -> bytes:
        data = bytearray()
        while (byte := self._messages.read(1)) not in (b"\0", b""):
            data += byte
        return bytes(data)


class BrowserPage:
    """A page in a tab."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser = browser
        self._session = session

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in JavaScript."""
        answer = self._browser.call("Runtime.evaluate", {"expression": expression}, self._session)
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + _SECONDS
        while not self.evaluate(expression):
            assert time.monotonic() < deadline, f"{expression}: {self.evaluate('document.body.innerText')}"
            time.sleep(0.05)

    def choose_file(self, selector: str, path: Path) -> None:
        """Choose a file in an input element."""
        root = self._browser.call("DOM.getDocument", {}, self._session)["root"]["nodeId"]
        query = {"nodeId": root, "selector": selector}
        node = self._browser.call("DOM.querySelector", query, self._session)["nodeId"]
        self._browser.call("DOM.setFileInputFiles", {"nodeId": node, "files": [str(path)]}, self._session)

    def wait_for_text(self, selector: str, start: str, shown: str = "") -> str:
        """Wait until the text of an element begins so, and return it, or the text of the element `shown`."""
        self.wait_for(f"document.querySelector({json.dumps(selector)}).innerText.startsWith({json.dumps(start)})")
        return str(self.evaluate(f"document.querySelector({json.dumps(shown or selector)}).innerText"))
