"""docs/how-to/embed.md as a program of its own, without any privilege, on a router."""

import re
import socket
import sys
from pathlib import Path

import pytest

from sallyport.lab.host import Host, end, wait_until
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns]

PAGE = Path(__file__).parents[2] / "docs/how-to/embed.md"
WITHOUT = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


def hears(host: Host, port: int) -> bool:
    """Return whether a host can connect to the port and is sent anything."""
    try:
        with host.entered(), socket.create_connection(("203.0.113.1", port), timeout=1) as sock:
            return sock.recv(1) != b""
    except OSError:
        return False


def test_the_program_of_the_page_lets_the_peer_in_and_no_stranger(lab: Lab, tmp_path: Path) -> None:
    (text,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    program, log = tmp_path / "embedded.py", tmp_path / "log"
    program.write_text(text, encoding="utf-8")
    process = lab.gateway.popen([*WITHOUT, sys.executable, str(program)], log=log)
    with lab.client.entered():
        client = socket.create_server(("10.0.0.8", 6000))
    client.settimeout(5)
    try:
        wait_until(process, lambda: "may connect to" in log.read_text(), log, "no port")
        port = int(log.read_text().rpartition(":")[2])
        assert not hears(lab.stranger, port)
        with lab.server.entered(), socket.create_connection(("203.0.113.1", port), 5) as peer:
            accepted, _ = client.accept()
            accepted.sendall(b"parcel")
            assert peer.recv(6) == b"parcel"
            accepted.close()
    finally:
        end(process)
        client.close()
