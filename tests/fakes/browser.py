"""A real Chromium, driven over its DevTools protocol: opens a page, presses keys, moves the mouse, asks, pictures."""

from __future__ import annotations

import base64
import itertools
import json
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from websockets.sync.client import ClientConnection, connect

# A start takes a second on an idle machine; a picture of a large page on a busy one takes longer.
PATIENCE_S = 60.0
_KEY_CODES = {
    "ArrowLeft": 37,
    "ArrowRight": 39,
    "PageUp": 33,
    "PageDown": 34,
    "Home": 36,
    "End": 35,
    "Escape": 27,
    "Tab": 9,
}


class Browser:
    """Use it as a context manager. `errors` are what the page's script threw, `fetched` what the page asked for."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.fetched: list[str] = []
        self._numbers = itertools.count(1)

    def __enter__(self) -> Browser:
        self._home = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-sync",
            "--hide-scrollbars",
        ]
        options += ["--disable-background-networking", "--disable-component-update", "--disable-extensions"]
        options += [f"--user-data-dir={self._home.name}", "--remote-debugging-port=0", "about:blank"]
        self._process = subprocess.Popen(
            ["chromium", *options], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        try:
            self._attach()
        except BaseException:
            self._end()
            raise
        return self

    def _attach(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if line.startswith("DevTools listening on "):
                self._browser = line.split()[-1]
                break
        else:
            raise AssertionError("chromium ended before it listened")
        with connect(self._browser, max_size=None, open_timeout=PATIENCE_S, proxy=None) as first:
            self._connection = first
            targets = self.call("Target.getTargets")["targetInfos"]
        page = next(each["targetId"] for each in targets if each["type"] == "page")
        address = self._browser.partition("/devtools/")[0] + f"/devtools/page/{page}"
        self._connection: ClientConnection = connect(address, max_size=None, open_timeout=PATIENCE_S, proxy=None)
        for domain in ("Page", "Runtime", "Network"):
            self.call(f"{domain}.enable")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._connection.close()
        self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()
        self._home.cleanup()

    # ------------------------------------------------------------ what a person does

    def open(self, path: Path, fragment: str = "") -> None:
        """Load the page anew and wait until it is there."""
        self.fetched.clear()
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=path.as_uri() + fragment)
        self.wait_until("document.readyState === 'complete' && location.protocol === 'file:'")

    def size(self, width: int, height: int, *, dark: bool = False, phone: bool = False) -> None:
        scale = 2 if phone else 1
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def press(self, *keys: str) -> None:
        for key in keys:
            fields: dict[str, Any] = {"key": key, "windowsVirtualKeyCode": _KEY_CODES.get(key, ord(key[0].upper()))}
            if len(key) == 1:
                fields["text"] = key
            self.call("Input.dispatchKeyEvent", type="keyDown", **fields)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def move_to(self, selector: str) -> None:
        x, y = self.middle(selector)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, selector: str, *, across: float = 0.5) -> None:
        """Press and release, at the share `across` of the element's width."""
        x, y = self.middle(selector, across)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def tap(self, x: float, y: float) -> None:
        """With a finger. The click that it makes may come later."""
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def middle(self, selector: str, across: float = 0.5) -> tuple[float, float]:
        found = self.ask(
            f"(e => {{ e.scrollIntoView({{block: 'nearest'}}); const b = e.getBoundingClientRect(); "
            f"return [b.x + b.width * {across}, b.y + b.height / 2]; }})"
            f"(document.querySelector({json.dumps(selector)}))"
        )
        return found[0], found[1]

    # ------------------------------------------------------------ what a person sees

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        reply = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in reply, reply
        return reply["result"].get("value")

    def text(self, selector: str) -> str:
        """With plain spaces for those that keep a line together."""
        return str(self.ask(f"document.querySelector({json.dumps(selector)}).textContent")).replace("\u00a0", " ")

    def wait_until(self, expression: str) -> None:
        """Looks at each frame that the page draws."""
        waiting = (
            f"new Promise(done => {{ const look = () => ({expression}) ? done() : setTimeout(look, 5); look(); }})"
        )
        self.call("Runtime.evaluate", expression=waiting, awaitPromise=True)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """A PNG of the window, or of the whole page."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(PATIENCE_S))
            if message.get("method") == "Runtime.exceptionThrown":
                self.errors.append(str(message["params"]["exceptionDetails"]))
            elif message.get("method") == "Network.requestWillBeSent":
                self.fetched.append(message["params"]["request"]["url"])
            elif message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
