"""A headless Chromium, by its DevTools protocol over a pipe (--remote-debugging-pipe)."""

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from sallyport.lab.host import Host

PROGRAM = "chromium-headless-shell"

# The browser reads its commands at descriptor 3 and writes at 4.
_PLACED = """
import fcntl, os, sys
copies = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
for copy, place in zip(copies, (3, 4)):
    os.dup2(copy, place)
os.environ["LD_LIBRARY_PATH"] = sys.argv.pop(3)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """One page in a browser of its own; waits are for what the page shows."""

    def __init__(self, host: Host, folder: Path) -> None:
        found = shutil.which(PROGRAM)
        if found is None:
            pytest.skip(f"{PROGRAM} is missing: scripts/bootstrap unpacks it")
        program = _binary(Path(found))
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        argv = [sys.executable, "-c", _PLACED, str(to_read), str(to_write)]
        argv += [_libraries(program), str(program)]
        argv += ["--no-sandbox", "--disable-gpu"]
        argv += ["--disable-dev-shm-usage", f"--user-data-dir={folder}", "--remote-debugging-pipe"]
        with host.entered():
            self._process = subprocess.Popen(
                argv,
                pass_fds=[to_read, to_write],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        os.close(to_read)
        os.close(to_write)
        self._numbers = count(1)
        self._held = b""
        self.complaints: list[str] = []
        """Errors in the page, and what its security policy has prevented."""
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def close(self) -> None:
        """End the browser."""
        self._process.kill()
        self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def ask(self, method: str, **parameters: Any) -> Any:  # noqa: ANN401 - JSON
        """Send one command about the page, and return its result."""
        return self._ask(method, self._session, **parameters)

    def _ask(self, method: str, session: str = "", **parameters: Any) -> Any:  # noqa: ANN401
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer)
                return answer["result"]

    def _next(self) -> Any:  # noqa: ANN401 - JSON
        while b"\0" not in self._held:
            data = os.read(self._read, 1 << 20)
            assert data, "the browser has ended"
            self._held += data
        raw, _, self._held = self._held.partition(b"\0")
        message = json.loads(raw)
        match message.get("method"):
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(message["params"])[:2000])
            case "Log.entryAdded":
                entry = message["params"]["entry"]
                # An answer that says no is the page's own business.
                if entry["level"] == "error" and entry["source"] != "network":
                    self.complaints.append(entry["text"])
        return message

    def run(self, script: str) -> Any:  # noqa: ANN401 - JSON
        """Return the value of an expression in the page; a promise is waited for."""
        result = self.ask(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, (script, result)
        return result["result"].get("value")

    def open(self, url: str, width: int = 1200, height: int = 900) -> None:
        """Show a page in a window of this size."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.ask("Page.navigate", url=url)
        self.until(f"location.href == {json.dumps(url)} && document.readyState == 'complete'")

    def until(self, script: str, seconds: float = 15) -> Any:  # noqa: ANN401 - JSON
        """Return the value of an expression as soon as it is true."""
        end = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < end, (script, self.run("document.body.innerText"))
            time.sleep(0.05)
        return value

    def press(self, key: str) -> None:
        """Press and release one key: `Tab`, `Enter`, or a character."""
        code = {"Tab": 9, "Enter": 13, "Escape": 27}.get(key, ord(key[0]))
        text = {"Enter": "\r", "Tab": ""}.get(key, key)
        facts = {"key": key, "windowsVirtualKeyCode": code}
        kind = "keyDown" if text else "rawKeyDown"
        self.ask("Input.dispatchKeyEvent", type=kind, text=text, **facts)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **facts)

    def type(self, text: str) -> None:
        """Write into what has the focus."""
        self.ask("Input.insertText", text=text)

    def picture(self, file: Path, *, is_dark: bool = False) -> None:
        """Write what is shown as PNG, the whole page."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        shot = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=False)
        file.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browser(host: Host, folder: Path) -> Iterator[Browser]:
    """Run a browser on a host of the lab."""
    made = Browser(host, folder)
    try:
        yield made
    finally:
        made.close()


def _binary(wrapper: Path) -> Path:
    """Return the program behind Debian's wrapper, which knows only /usr/lib."""
    unpacked = wrapper.parent.parent / "lib/chromium" / PROGRAM
    return unpacked if unpacked.exists() else wrapper


def _libraries(program: Path) -> str:
    folders = [one for one in program.parents[1].glob("*-linux-gnu") if one.is_dir()]
    folders += [one / "pulseaudio" for one in folders]
    return ":".join([*map(str, folders), os.environ.get("LD_LIBRARY_PATH", "")])
