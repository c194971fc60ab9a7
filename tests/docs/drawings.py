"""The drawings of the documents, as SVG: `scripts/reference` writes them into docs/pictures.

A drawing has a ground of its own and follows the reader's choice of light or dark, so it is legible
on any page. Places are written down, not laid out: there are few drawings, and a person looks at
them.
"""

from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs/pictures"

_STYLE = """
  .ground { fill: #fbfbf8; }
  .box { fill: #ffffff; stroke: #6b7280; stroke-width: 1.2; }
  .room { fill: #eef2f7; stroke: #9aa5b4; stroke-width: 1.2; stroke-dasharray: 5 4; }
  .ours { fill: #e3f0e6; stroke: #3f7d52; }
  .stop { fill: #fbe7e4; stroke: #b4473a; }
  .way { stroke: #374151; stroke-width: 1.6; fill: none; }
  .fast { stroke: #2f6fb0; stroke-width: 3.4; fill: none; }
  .no { stroke: #b4473a; stroke-width: 1.6; fill: none; stroke-dasharray: 3 3; }
  .life { stroke: #9aa5b4; stroke-width: 1.2; fill: none; stroke-dasharray: 2 4; }
  .open { fill: #3f7d52; }
  text { font-family: system-ui, "Segoe UI", "DejaVu Sans", sans-serif; font-size: 13px;
         fill: #1f2937; }
  .title { font-weight: 600; font-size: 14px; }
  .small { font-size: 12px; fill: #4b5563; }
  .head { fill: #374151; } .headfast { fill: #2f6fb0; } .headno { fill: #b4473a; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #16191d; }
    .box { fill: #22272e; stroke: #8b949e; }
    .room { fill: #1b2027; stroke: #5b6673; }
    .ours { fill: #1d3325; stroke: #6fbf86; }
    .stop { fill: #3a2120; stroke: #e58b7f; }
    .way { stroke: #c9d1d9; } .fast { stroke: #6cb0f2; } .no { stroke: #e58b7f; }
    .life { stroke: #5b6673; } .open { fill: #6fbf86; }
    text { fill: #e6edf3; } .small { fill: #aab4bf; }
    .head { fill: #c9d1d9; } .headfast { fill: #6cb0f2; } .headno { fill: #e58b7f; }
  }
"""

_LINE = 17  # between two lines of text, in pixels


class Drawing:
    """Boxes, arrows and words in a rectangle; places are pixels from its upper left corner."""

    def __init__(self, width: int, height: int, says: str) -> None:
        """Begin with an empty ground; `says` is for those who do not see the drawing."""
        self._size = width, height
        self._says = says
        self._parts: list[str] = []

    def box(self, x: int, y: int, width: int, height: int, *lines: str, kind: str = "box") -> None:
        """Draw a box; the first line is its title."""
        names = kind if kind in {"box", "room"} else f"box {kind}"
        self._parts.append(
            f'<rect class="{names}" x="{x}" y="{y}" width="{width}" height="{height}" rx="7"/>'
        )
        for number, line in enumerate(lines):
            self.text(x + 12, y + 21 + _LINE * number, line, "small" if number else "title")

    def text(self, x: int, y: int, line: str, kind: str = "", *, anchor: str = "start") -> None:
        """Write a line; `anchor` is which part of it is at x."""
        self._parts.append(
            f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(line)}</text>'
        )

    def arrow(self, *points: tuple[int, int], kind: str = "way") -> None:
        """Draw a line along the points, with a head at the last one."""
        way = " ".join(f"{x},{y}" for x, y in points)
        self._parts.append(f'<polyline class="{kind}" points="{way}" marker-end="url(#{kind})"/>')

    def line(self, x: int, top: int, bottom: int) -> None:
        """Draw the lifeline of one participant of a sequence."""
        self._parts.append(f'<line class="life" x1="{x}" y1="{top}" x2="{x}" y2="{bottom}"/>')

    def span(self, x: int, top: int, bottom: int) -> None:
        """Draw the time during which a pinhole is open."""
        self._parts.append(
            f'<rect class="open" x="{x - 5}" y="{top}" width="10" height="{bottom - top}" rx="3"/>'
        )

    def says(self, y: int, source: int, target: int, line: str, kind: str = "way") -> None:
        """Draw in a sequence what one at x `source` sends to one at `target`."""
        side = 8 if source < target else -8
        self.arrow((source + side, y), (target - side, y), kind=kind)
        self.text((source + target) // 2, y - 7, line, "small", anchor="middle")

    def svg(self) -> str:
        """Return the drawing."""
        width, height = self._size
        heads = "".join(
            f'<marker id="{kind}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="{size}"'
            f' markerHeight="{size}" orient="auto-start-reverse">'
            f'<path class="head{kind if kind != "way" else ""}" d="M0 0L10 5L0 10z"/></marker>\n'
            for kind, size in (("way", 6), ("fast", 4), ("no", 6))
        )
        parts = "\n".join(self._parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
            f' width="{width}" height="{height}" role="img">\n<title>{escape(self._says)}</title>\n'
            f"<style>{_STYLE}</style>\n<defs>\n{heads}</defs>\n"
            f'<rect class="ground" width="{width}" height="{height}" rx="10"/>\n{parts}\n</svg>\n'
        )


def _kernel_path() -> Drawing:
    drawing = Drawing(
        1000, 736, "The way of a packet: intercepted, through the pins table, and in user mode"
    )
    _data(drawing)
    drawing.text(20, 480, "The control connection, from the client inside to its server", "title")
    drawing.box(20, 496, 110, 64, "client", "PORT …")
    lines = ("intercept", "TPROXY to the socket of", "the client's worker")
    drawing.box(190, 496, 200, 64, *lines, kind="ours")
    drawing.box(450, 496, 240, 64, "worker", "the filter reads, rules decide,", "a pinhole opens")
    drawing.box(870, 496, 110, 64, "server", "hears PORT", "of the gateway")
    drawing.arrow((130, 528), (190, 528))
    drawing.arrow((390, 528), (450, 528))
    drawing.arrow((690, 528), (870, 528))
    drawing.text(780, 518, "a connection of its own", "small", anchor="middle")
    drawing.arrow((570, 496), (570, 446), (460, 446), (460, 332), (430, 332))
    drawing.text(580, 466, "an element, before the server hears of it", "small")

    drawing.text(20, 620, "A data connection in user mode", "title")
    drawing.box(20, 636, 110, 64, "peer", "203.0.113.9")
    drawing.box(190, 636, 200, 64, "a socket of the worker", "the pinhole, and the listener")
    lines = ("data filters, or splice", "every byte by the worker:", "it can be read and changed")
    drawing.box(450, 636, 240, 64, *lines)
    drawing.box(870, 636, 110, 64, "client", "10.0.0.8")
    drawing.arrow((130, 668), (190, 668))
    drawing.arrow((390, 668), (450, 668))
    drawing.arrow((690, 668), (870, 668))
    drawing.text(780, 658, "in the peer's name", "small", anchor="middle")
    return drawing


def _data(drawing: Drawing) -> None:
    """Draw the kernel's part: known flows above, the first packets of a flow below."""
    drawing.text(20, 30, "A data connection, from the peer outside to the client inside", "title")
    drawing.box(20, 50, 110, 64, "peer", "203.0.113.9")
    drawing.box(190, 50, 170, 64, "conntrack", "is the flow known?")
    drawing.box(430, 50, 200, 64, "translate, forward", "by its entry and its mark;", "no process")
    drawing.box(870, 50, 110, 64, "client", "10.0.0.8")
    drawing.arrow((130, 82), (190, 82), kind="fast")
    drawing.arrow((360, 82), (430, 82), kind="fast")
    drawing.arrow((630, 82), (870, 82), kind="fast")
    drawing.text(395, 72, "yes", "small", anchor="middle")
    drawing.text(750, 72, "every packet after the handshake", "small", anchor="middle")

    drawing.text(284, 136, "no: a first packet", "small")
    drawing.arrow((275, 114), (275, 150))
    drawing.box(190, 150, 240, 64, "intercept", "a source that claims to be ours", "is dropped")
    drawing.arrow((275, 214), (275, 250))
    pins = (
        "pins table of a worker",
        "a map of local address, port",
        "and peer; found: mark, and",
        "translate to the client's",
    )
    drawing.box(190, 250, 240, 98, *pins, kind="ours")
    drawing.arrow((430, 290), (490, 290))
    prove = (
        "prove",
        "a SYN passes, spends nothing;",
        "the ACK that completes the",
        "handshake takes the token,",
        "one packet on all processors",
    )
    drawing.box(490, 250, 220, 98, *prove, kind="ours")
    drawing.arrow((710, 290), (760, 290))
    base = (
        "base table and guard",
        "what was admitted passes,",
        "what is new is held back",
        "unless a rule lets it in",
    )
    drawing.box(760, 250, 220, 98, *base, kind="ours")
    drawing.arrow((925, 250), (925, 114))
    drawing.arrow((275, 348), (275, 384), kind="no")
    drawing.text(285, 371, "not found", "small")
    drawing.box(190, 384, 240, 48, "a stranger", "dropped; samples are in the log", kind="stop")
    drawing.arrow((600, 348), (600, 384), kind="no")
    drawing.text(610, 371, "the token is taken", "small")
    drawing.box(
        490, 384, 220, 48, "a second connection", "reset before its first byte", kind="stop"
    )


def _processes() -> Drawing:
    drawing = Drawing(1000, 486, "Supervisor, workers and kernel, and what each of them owns")
    drawing.box(20, 20, 960, 252, "sallyport run", kind="room")
    supervisor = (
        "supervisor",
        "reads the configuration as text",
        "starts, watches, replaces workers",
        "all listening sockets",
        "control socket: admin API, page",
        "the guard, and the host's settings",
        "",
        "dies: its workers die with it,",
        "pinholes close, transfers go on",
        "stops in order: all is put back",
    )
    drawing.box(40, 60, 300, 192, *supervisor)
    for number, x in (("1", 430), ("N", 710)):
        worker = (
            f"worker {number}",
            "a whole gateway for its clients:",
            "filters, rules, sessions",
            "control connections",
            "its slice of the ports",
            "its numbers in marks",
            "",
            "dies: its pinholes close,",
            "its transfers go on, and its",
            "replacement adopts them",
        )
        drawing.box(x, 60, 250, 192, *worker)
    drawing.text(695, 160, "…", anchor="middle")
    drawing.arrow((340, 120), (430, 120))
    drawing.arrow((430, 150), (340, 150))
    drawing.text(385, 110, "sockets, file", "small", anchor="middle")
    drawing.text(385, 168, "beats, records", "small", anchor="middle")

    drawing.box(20, 316, 960, 150, "kernel", kind="room")
    guard = (
        "guard",
        "inet sallyport_guard1",
        "interception, rules again",
        "gone with the supervisor",
    )
    drawing.box(40, 352, 195, 96, *guard, kind="ours")
    drawing.box(255, 352, 195, 96, "base table", "inet sallyport", "forward, masquerade",
                "outlives every death")  # fmt: skip
    pins = (
        "pins table",
        "inet sallyport_pins0",
        "an element for each pinhole",
        "gone with worker 1",
    )
    drawing.box(470, 352, 210, 96, *pins, kind="ours")
    flows = (
        "conntrack",
        "the flows that were admitted,",
        "with their marks",
        "outlives every death",
    )
    drawing.box(740, 352, 220, 96, *flows)
    drawing.arrow((135, 252), (135, 352))
    drawing.arrow((300, 252), (300, 352))
    drawing.arrow((520, 252), (520, 352))
    drawing.text(530, 298, "netlink: one message a bind", "small")
    drawing.arrow((850, 352), (850, 252))
    drawing.text(860, 298, "events of all flows", "small")
    return drawing


def _session() -> Drawing:
    drawing = Drawing(
        900,
        590,
        "A session of active FTP: PORT is rewritten, one pinhole opens, the kernel forwards",
    )
    client, gateway, server = 110, 450, 790
    for x, name, what in (
        (client, "client", "10.0.0.8"),
        (gateway, "gateway", "203.0.113.1"),
        (server, "server", "203.0.113.9"),
    ):
        drawing.box(x - 80, 20, 160, 46, name, what)
        drawing.line(x, 66, 560)
    says = drawing.says
    says(110, client, gateway, "PORT 10,0,0,8,6,17")
    asked = ("may this client? its own address?", "port 1024 or above? within its quota?")
    drawing.box(gateway - 140, 126, 280, 66, "rules", *asked)
    pinhole = ("203.0.113.1:40271", "from 203.0.113.9, once", "to 10.0.0.8:1553")
    drawing.box(gateway - 140, 206, 280, 82, "a pinhole opens", *pinhole, kind="ours")
    drawing.span(gateway, 288, 462)
    says(318, gateway, server, "PORT 203,0,113,1,157,79")
    says(353, server, gateway, "200 OK")
    says(353, gateway, client, "200 OK")
    says(398, client, gateway, "RETR file")
    says(398, gateway, server, "RETR file")
    says(443, server, gateway, "connects to port 40271")
    says(443, gateway, client, "translated", "fast")
    drawing.box(gateway - 140, 462, 280, 36, "handshake done: pinhole closed", kind="ours")
    says(530, server, gateway, "data", "fast")
    says(530, gateway, client, "forwarded by the kernel", "fast")
    return drawing


def _mapping() -> Drawing:
    drawing = Drawing(
        900, 660, "The life of a port that a client asked for by PCP, from MAP to its end"
    )
    client, gateway, peer = 130, 450, 770
    for x, name, what in (
        (client, "client", "10.0.0.8"),
        (gateway, "gateway", "203.0.113.1"),
        (peer, "peer", "198.51.100.9"),
    ):
        drawing.box(x - 75, 20, 150, 46, name, what)
        drawing.line(x, 66, 640)
    says = drawing.says
    drawing.span(gateway, 150, 440)
    drawing.span(gateway, 488, 600)
    says(110, client, gateway, "MAP: my TCP port 8000, for 3600 s")
    drawing.text(470, 114, "may it? rule, quota, rate, lifetime", "small")
    drawing.text(470, 132, "a port, and an element in the kernel", "small")
    says(170, gateway, client, "SUCCESS: 203.0.113.1:51220, for 3600 s")
    says(220, peer, gateway, "SYN to port 51220")
    says(220, gateway, client, "translated by the kernel", "fast")
    drawing.text(470, 248, "as many connections as come; with FILTER", "small")
    drawing.text(470, 265, "only from the peers that it names", "small")
    says(310, client, gateway, "MAP again, at half of its time")
    says(346, gateway, client, "SUCCESS: the same port, 3600 s more")
    drawing.text(470, 314, "the same nonce, or it is not the owner", "small")
    drawing.text(470, 444, "the gateway stops in order: what is promised", "small")
    drawing.text(470, 461, "is written to /run/sallyport", "small")
    drawing.text(470, 498, "the next start: made again, same port, before", "small")
    drawing.text(470, 515, "any request is answered", "small")
    says(405, peer, gateway, "a connection that runs")
    says(405, gateway, client, "goes on while workers are renewed", "fast")
    says(560, client, gateway, "MAP with lifetime 0, or it does not ask again")
    drawing.text(470, 604, "the element is deleted, the port is free", "small")
    says(632, peer, gateway, "SYN: nobody answers", "no")
    return drawing


PICTURES: dict[str, Callable[[], Drawing]] = {
    "session.svg": _session,
    "kernel-path.svg": _kernel_path,
    "processes.svg": _processes,
    "mapping.svg": _mapping,
}


def drawn() -> Iterator[tuple[Path, str]]:
    """Yield the file of each drawing, and what it contains."""
    for name, draw in PICTURES.items():
        yield FOLDER / name, draw().svg()


if __name__ == "__main__":
    for file, text in drawn():
        file.write_text(text, encoding="utf-8")
