"""A headless Chromium, driven through its chromedriver's HTTP interface."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key that a reference to an element has, by the WebDriver standard."""
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def missing() -> str | None:
    """Why there is no browser to test with, None where there is one."""
    browser = _browser()
    if browser is None or shutil.which("chromedriver") is None:
        return "no Chromium with a chromedriver on the PATH (Debian: apt-get install chromium chromium-driver)"
    return None


def _browser() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """A session.

    Args:
        address: Of the session, at its chromedriver.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return _ask(method, self.address + path, body)

    def open(self, url: str) -> None:
        """Go to a page and wait until its script has drawn it."""
        self.ask("POST", "/url", {"url": url})
        assert self.run("return document.body.dataset.ready") == "yes", self.console()

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page; it gets `arguments`."""
        return self.ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def command(self, name: str, **parameters: Any) -> Any:
        """A command of the Chrome DevTools protocol."""
        return self.ask("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def click(self, selector: str) -> None:
        """Click as a user does: it fails where the element is covered or not shown."""
        self.ask("POST", f"/element/{self._find(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        """Type into an element."""
        self.ask("POST", f"/element/{self._find(selector)}/value", {"text": text})

    def press(self, keys: str) -> None:
        """Press keys, wherever the focus is."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.ask("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def _find(self, selector: str) -> str:
        return str(self.ask("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT])

    def text(self, selector: str) -> str:
        """The text of an element as it is shown."""
        return str(self.run("return document.querySelector(arguments[0]).innerText", selector))

    def show(self, width: int, height: int = 900, *, scheme: str = "light", media: str = "") -> None:
        """Make the window so wide, and pretend a colour scheme or a printer."""
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", media=media, features=features)
        # The charts are drawn again once the browser has laid the page out.
        wait = "requestAnimationFrame(() => requestAnimationFrame(() => arguments[0]()))"
        self.ask("POST", "/execute/async", {"script": wait, "args": []})

    def console(self) -> list[str]:
        """What the browser complained of since the last call: errors of scripts, and what the policy forbade."""
        return [entry["message"] for entry in self.ask("POST", "/se/log", {"type": "browser"})]

    def requests(self) -> list[str]:
        """What the pages asked for since the last call."""
        entries = [
            json.loads(entry["message"])["message"] for entry in self.ask("POST", "/se/log", {"type": "performance"})
        ]
        return [e["params"]["request"]["url"] for e in entries if e["method"] == "Network.requestWillBeSent"]


@contextmanager
def opened() -> Iterator[Browser]:
    """A browser of its own for the block."""
    driver = subprocess.Popen(
        ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        address = f"http://127.0.0.1:{_port(driver)}/session"
        options = {"args": FLAGS, "binary": _browser()}
        logs = {"browser": "ALL", "performance": "ALL"}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": logs}
        session = _ask("POST", address, {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        browser = Browser(f"{address}/{session}")
        try:
            yield browser
        finally:
            browser.ask("DELETE", "")
    finally:
        driver.terminate()
        driver.communicate()


def _port(driver: subprocess.Popen[str]) -> int:
    assert driver.stdout
    for line in driver.stdout:
        if "started successfully on port" in line:
            return int(line.strip().rstrip(".").rpartition(" ")[2])
    raise AssertionError("chromedriver did not start")


def _ask(method: str, address: str, body: Mapping[str, Any] | None = None) -> Any:
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise AssertionError(json.load(error)["value"]["message"]) from None


def written(page: bytes, path: Path) -> str:
    """The address of a page that lies on the disk."""
    path.write_bytes(page)
    return path.resolve().as_uri()
