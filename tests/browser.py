"""A headless browser for tests of HTML pages."""

from __future__ import annotations

import base64
import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from helpers import wait_for

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--proxy-server=127.0.0.1:9",  # nothing listens there: only this machine can be reached
)
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # WebDriver's key for a reference to an element


def need_browser() -> str:
    if BROWSER is None:
        pytest.skip("no Chromium here: apt install chromium fonts-noto-cjk")
    return BROWSER


def in_browser(page: Path, profile: Path) -> str:
    """Return a page's document after its scripts have run, in a headless browser without network."""
    command = [need_browser(), *OPTIONS, f"--user-data-dir={profile}", "--virtual-time-budget=10000", "--dump-dom"]
    return subprocess.run([*command, page.as_uri()], capture_output=True, text=True, check=True, timeout=600).stdout


class Window:
    """A browser window that is controlled over the WebDriver protocol."""

    def __init__(self, session: str) -> None:
        self.session = session

    def call(self, method: str, path: str, **body: Any) -> Any:
        json = body if method == "POST" else None
        answer = requests.request(method, f"{self.session}/{path}", json=json, timeout=600)
        assert answer.ok, answer.text
        return answer.json()["value"]

    def open(self, address: str) -> None:
        self.call("POST", "url", url=address)

    def find(self, selector: str) -> list[str]:
        """Return the elements that match a selector; wait until there is one."""
        found = self.call("POST", "elements", using="css selector", value=selector)
        return [element[ELEMENT] for element in found]

    def type(self, selector: str, text: str) -> None:
        self.call("POST", f"element/{self.find(selector)[0]}/value", text=text)

    def click(self, selector: str) -> None:
        """Click an element. The next page may load later: wait for something that only that page has."""
        self.call("POST", f"element/{self.find(selector)[0]}/click")

    def follow(self, selector: str) -> None:
        """Click an element that loads another page, and wait for that page."""
        self.run("window.left = true")
        self.click(selector)

        def loaded() -> bool:
            with contextlib.suppress(AssertionError):  # while one page is replaced by the next
                return not self.run("return window.left === true")
            return False

        wait_for(loaded, 300, "next page")

    def press_control_enter(self, selector: str) -> None:
        self.type(selector, "\ue009\ue007")  # WebDriver's codes of the two keys

    def run(self, script: str) -> Any:
        """Run a script in the page and return its value."""
        return self.call("POST", "execute/sync", script=script, args=[])

    def devtools(self, command: str, **parameters: Any) -> None:
        """Send a DevTools command, for settings that WebDriver lacks: preferred colours, the screen of a phone."""
        self.call("POST", "goog/cdp/execute", cmd=command, params=parameters)

    def texts(self, selector: str) -> list[str]:
        return [self.call("GET", f"element/{element}/text") for element in self.find(selector)]

    def css(self, selector: str, name: str) -> list[str]:
        return [self.call("GET", f"element/{element}/css/{name}") for element in self.find(selector)]

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("GET", "screenshot")))


@contextlib.contextmanager
def window(profile: Path) -> Iterator[Window]:
    """A window of a new browser, closed when the block ends."""
    browser = need_browser()
    if DRIVER is None:
        pytest.skip("no chromedriver here: apt install chromium-driver")
    with subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True) as driver:
        try:
            assert driver.stdout is not None
            line = next(line for line in driver.stdout if "started successfully on port" in line)
            address = f"http://127.0.0.1:{line.rsplit(' ', 1)[1].strip().rstrip('.')}"
            chrome = {"binary": browser, "args": [*OPTIONS, f"--user-data-dir={profile}"]}
            patience = {"implicit": 300_000}  # of find(), in milliseconds: a page may wait for a slow server
            wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": chrome, "timeouts": patience}}}
            answer = requests.post(f"{address}/session", json=wanted, timeout=600)
            assert answer.ok, answer.text
            opened = Window(f"{address}/session/{answer.json()['value']['sessionId']}")
            yield opened
            requests.delete(opened.session, timeout=600)
        finally:
            driver.terminate()
