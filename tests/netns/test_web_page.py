"""The web page on a gateway that works, in a real browser.

`SALLYPORT_SCREENSHOTS=docs/pictures` keeps what is seen there.
"""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.matrix import GiveServer
from tests.interop.rawftp import RawFtp
from tests.netns.browser import Browser, browser
from tests.netns.test_admin import CONFIGURATION, CONTROL, MONITOR
from tests.netns.test_workers import begin

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.network import Lab
from sallyport.lab.servers import FtpServer

pytestmark = [pytest.mark.netns, pytest.mark.interop]

URL = "http://127.0.0.1:8470/"
PHONE = (390, 844)


@pytest.fixture(scope="module")
def gateway(lab: Lab) -> Iterator[RunningGateway]:
    for name, token in (("control", CONTROL), ("monitor", MONITOR)):
        file = lab.folder / f"{name}.token"
        file.write_text(f"{token}\n", encoding="ascii")
        file.chmod(0o600)
    config = lab.folder / "page.toml"
    config.write_text(CONFIGURATION.replace("FOLDER", str(lab.folder)), encoding="utf-8")
    running = RunningGateway(lab, ["--config", str(config)], name="page")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def server(server_of: GiveServer) -> FtpServer:
    found = server_of("vsftpd")
    with (found.folder / "endless").open("wb") as file:
        file.truncate(1 << 30)
    return found


@pytest.fixture
def page(gateway: RunningGateway, tmp_path: Path) -> Iterator[Browser]:
    with browser(gateway.host, tmp_path / "chromium") as opened:
        yield opened
        assert opened.complaints == []


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    kept = Path(os.environ.get("SALLYPORT_SCREENSHOTS") or tmp_path)
    kept.mkdir(parents=True, exist_ok=True)
    return kept


def log_in(page: Browser, token: str = CONTROL, view: str = "now", *size: int) -> None:
    """Open a view of the page; what is typed is typed by keyboard."""
    page.open(f"{URL}#{view}", *size)
    page.until("!document.getElementById('view-login').hidden")
    page.run("document.getElementById('token').focus()")
    page.type(token)
    page.press("Enter")
    page.until(f"!document.getElementById('view-{view}').hidden")


def text_of(page: Browser, place: str) -> str:
    return str(page.run(f"document.getElementById('{place}').innerText"))


def _drain(data: socket.socket) -> None:
    while data.recv(1 << 20):
        pass


def test_without_a_token_nothing_is_shown(page: Browser) -> None:
    page.open(URL)
    page.until("!document.getElementById('view-login').hidden")
    page.run("document.getElementById('token').focus()")
    page.type("wrong-0123456789abcdef")
    page.press("Enter")
    page.until("document.getElementById('state').textContent == 'a token is needed'")

    assert page.run("document.getElementById('view-now').hidden")


def test_where_nothing_happens_it_says_what_would_be_there(page: Browser, pictures: Path) -> None:
    log_in(page)
    page.until("document.querySelectorAll('#view-now .empty').length == 3")
    page.picture(pictures / "page-empty.png")

    assert "No transfer runs." in text_of(page, "transfers")
    assert "No client is served" in text_of(page, "sessions")
    assert "in order" in text_of(page, "state")


def test_a_transfer_is_seen_with_its_speed_and_can_be_ended_by_keyboard(
    page: Browser, lab: Lab, server: FtpServer, pictures: Path
) -> None:
    with RawFtp(lab.client, server) as ftp, begin(ftp) as data:
        log_in(page)
        page.until("!!document.querySelector('#transfers tbody tr')")
        data.recv(1 << 20)
        page.until("/[KMG]iB.s/.test(document.getElementById('transfers').innerText)")
        assert "10.0.0.8" in text_of(page, "transfers")
        assert "ftp at 203.0.113" in text_of(page, "sessions")
        page.picture(pictures / "page-now.png")
        page.picture(pictures / "page-now-dark.png", is_dark=True)
        page.run("document.querySelector('#transfers button').focus()")
        page.press("Enter")
        page.until("document.getElementById('confirm').open")
        assert page.run("document.activeElement.value") == "no"
        page.press("Tab")
        page.press("Enter")
        page.until("!!document.querySelector('#transfers .empty')")
        with pytest.raises(ConnectionResetError):
            _drain(data)


def test_who_may_only_look_is_offered_nothing_to_end(
    page: Browser, lab: Lab, server: FtpServer
) -> None:
    with RawFtp(lab.client, server):
        log_in(page, MONITOR)
        page.until("!!document.querySelector('#sessions tbody tr')")

        assert page.run("document.querySelectorAll('#view-now button').length") == 0
        assert "you may look" in text_of(page, "state")


def test_a_refusal_is_told_in_words(
    page: Browser, lab: Lab, server: FtpServer, pictures: Path
) -> None:
    with RawFtp(lab.client, server) as ftp:
        ftp.ask(b"PORT 10,0,0,9,200,10", b"50")
    log_in(page, CONTROL, "refusals")
    page.until("/not-the-clients-address/.test(document.getElementById('counts').innerText)")
    with RawFtp(lab.client, server) as ftp:
        ftp.ask(b"PORT 10,0,0,8,0,20", b"50")
    page.until("/client-port-below-minimum/.test(document.getElementById('refused').innerText)")
    page.until("/an address that is not its own/.test(document.getElementById('counts').innerText)")
    page.picture(pictures / "page-refusals.png")


def test_a_question_is_asked_by_keyboard_alone(page: Browser, pictures: Path) -> None:
    log_in(page, MONITOR, "explain")
    page.run("document.querySelector('#question input').focus()")
    for words in ("10.0.0.8", "203.0.113.9", "irc"):
        page.type(words)
        page.press("Tab")
    page.press("Enter")
    page.until("/Refused/.test(document.getElementById('explained').innerText)")
    page.run("document.querySelector('#question [name=protocol]').value = 'ftp'")
    page.press("Enter")
    page.until("/Allowed by the rule ftp/.test(document.getElementById('explained').innerText)")
    page.picture(pictures / "page-explain.png")


def test_the_policy_is_drawn(page: Browser, pictures: Path) -> None:
    log_in(page, MONITOR, "policy")
    page.until("document.querySelectorAll('#picture [data-network]').length == 2")
    page.picture(pictures / "page-policy.png")

    drawn = str(page.run("document.querySelector('#picture svg').textContent"))
    assert "IPv4 nat, IPv6 route" in drawn
    assert "int0" in drawn


def test_a_session_is_drawn_as_it_happens(
    page: Browser, lab: Lab, server: FtpServer, pictures: Path
) -> None:
    log_in(page, MONITOR, "trace", 1200, 1250)
    page.until("!!document.querySelector('#sequence .empty')")
    page.run("document.querySelector('#follow input').focus()")
    page.type("10.0.0.8")
    page.press("Enter")
    page.until("/Following 10.0.0.8/.test(document.getElementById('following').textContent)")
    (server.folder / "report.txt").write_bytes(b"x" * 4000)
    with RawFtp(lab.client, server) as ftp:
        ftp.fetch(b"report.txt")
        ftp.ask(b"PORT 10,0,0,9,200,10", b"50")
        ftp.ask(b"QUIT", b"221")
    page.until("/221 /.test(document.getElementById('sequence').textContent)")
    page.picture(pictures / "page-trace.png")

    drawn = text_of(page, "sequence")
    assert "RETR" in drawn
    assert "open 203.0.113.1:" in drawn
    assert "not-the-clients-address" in drawn
    page.run("document.getElementById('unfollow').click()")
    page.until("/Stopped/.test(document.getElementById('following').textContent)")


@pytest.mark.parametrize("view", ["now", "refusals", "explain", "trace", "policy"])
@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_every_text_can_be_read_and_fits_on_a_phone(
    page: Browser, pictures: Path, view: str, is_dark: bool
) -> None:
    log_in(page, CONTROL, view, *PHONE)
    page.until("!/Asking/.test(document.getElementById('state').textContent)")
    page.picture(pictures / f"phone-{view}-{'dark' if is_dark else 'light'}.png", is_dark=is_dark)

    assert page.run(TOO_FAINT) == []
    assert page.run("document.documentElement.scrollWidth") <= PHONE[0]
    small = "[...document.querySelectorAll('nav a')].filter(a => a.offsetHeight < 40).length"
    assert page.run(small) == 0


# WCAG 2.2, 1.4.3: the contrast of every visible text with what is behind it, where below 4.5.
TOO_FAINT = """
(() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll('body *')]
    .filter((one) => one.checkVisibility())
    .filter((one) => [...one.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
    .map((one) => {
      const style = getComputedStyle(one);
      const ink = one instanceof SVGElement ? style.fill : style.color;
      const [a, b] = [light(parse(ink)), light(behind(one))].sort((x, y) => y - x);
      return [(a + 0.05) / (b + 0.05), one.textContent.trim().slice(0, 40)];
    })
    .filter(([contrast]) => contrast < 4.5);
})()
"""
