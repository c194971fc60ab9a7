import socket

import pytest

from sallyport.errors import StartupError
from sallyport.lab import gateway
from sallyport.lab.gateway import RunningGateway, end_plain_nat, plain_nat
from sallyport.lab.network import Lab

pytestmark = pytest.mark.netns

# A gateway that is nothing but its control socket: it repeats its arguments, and is not ready when
# first asked.
LISTENER = r"""
import socket, sys
print(*sys.argv[1:], flush=True)
control = socket.socket(socket.AF_UNIX)
control.bind(sys.argv[-1])
control.listen()
for status, answer in (
    (b"404", b'{"code": "unknown-command", "message": "not yet"}'),
    (b"200", b'{"controls": 0, "bindings": 0}'),
    (b"200", b'{"controls": 1, "bindings": 0}'),
    (b"200", b'{"controls": 0, "bindings": 1}'),
    (b"200", b'{"controls": 0, "bindings": 0}'),
):
    peer, _ = control.accept()
    with peer, peer.makefile("rb") as request:
        while request.readline() != b"\r\n":
            pass
        print("asked", flush=True)
        peer.sendall(b"HTTP/1.0 %s x\r\n\r\n%s" % (status, answer))
while True:
    control.accept()
"""


def test_plain_nat_translates_outbound_and_admits_nobody(lab: Lab) -> None:
    plain_nat(lab.gateway)
    try:
        with lab.server.entered():
            listener = socket.create_server((str(lab.server.address4), 7001))
        with (
            listener,
            lab.client.entered(),
            socket.create_connection((str(lab.server.address4), 7001), timeout=2),
        ):
            connection, peer = listener.accept()
            connection.close()
        assert peer[0] == "203.0.113.1"
        with lab.client.entered():
            inside = socket.create_server(("fd00:a::8", 7001), family=socket.AF_INET6)
        with inside, lab.server.entered(), pytest.raises(TimeoutError):
            socket.create_connection(("fd00:a::8", 7001), timeout=0.3)
    finally:
        end_plain_nat(lab.gateway)
    assert "plain" not in lab.gateway.run(["nft", "list", "tables"]).stdout


def test_a_gateway_is_ready_when_it_answers_and_settled_when_it_is_idle(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "sallyport", lambda: ["python3", "-c", LISTENER])
    running = RunningGateway(lab)

    assert running.journal() == [
        f"run --internal int0 --external ext0 --control-socket {lab.folder}/gateway.sock",
        "asked",
        "asked",
    ]
    running.settle()
    assert running.journal(3) == ["asked"] * 3
    assert running.stop() == -15


def test_a_gateway_that_does_not_start_is_quoted(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "sallyport", lambda: ["sh", "-c", "echo no nft; exit 1"])
    with pytest.raises(StartupError, match="does not start: no nft"):
        RunningGateway(lab, name="broken")
