"""Calls by SIP over TCP through the whole gateway: a provider that opens connections itself."""

import json
import re
import socket
from collections.abc import Iterator

import pytest
from tests.interop.office import configuration
from tests.interop.rtsp_peers import PATIENCE
from tests.interop.test_sip import LATE, MANY, Line

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]

both_families = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])

_CONTACT = re.compile(rb"Contact: <sip:kim@\[?([0-9a-f.:]+?)\]?:(\d+);transport=tcp>")


@pytest.fixture(scope="module", params=["kernel", "user"])
def gateway(lab: Lab, request: pytest.FixtureRequest) -> Iterator[RunningGateway]:
    """Run a gateway whose rule names SIP."""
    file = lab.folder / f"sip-tcp-{request.param}.toml"
    text = configuration(gateway=f'data_path = "{request.param}"', protocols=("sip",))
    file.write_text(text, encoding="ascii")
    running = RunningGateway(lab, ("--config", str(file)), name=f"sip-tcp-{request.param}")
    yield running
    running.stop()


class Trunk(Line):
    """A telephone and a provider that speak by streams; media as on any line."""

    def __init__(self, lab: Lab, family: int) -> None:
        super().__init__(lab, family)
        with lab.client.entered():
            self.called = self._listener(self.own, self.port)
        with lab.server.entered():
            listener = self._listener(self.server, 5060)
        with lab.client.entered():
            self.control = self._stack.enter_context(
                socket.create_connection((self.server, 5060), timeout=PATIENCE)
            )
        self.served = self._accepted(listener)
        self._server = lab.server

    def opens(self, to: tuple[str, int]) -> tuple[socket.socket, socket.socket]:
        """Let the provider connect; return its end and the telephone's."""
        with self._server.entered():
            made = self._stack.enter_context(socket.create_connection(to, timeout=PATIENCE))
        return made, self._accepted(self.called)

    def says(self, method: bytes, *, body: bytes = b"", more: bytes = b"") -> bytes:
        own = self._host(self.own) + b":%d" % self.port
        lines = [
            method + b" sip:lee@example.org SIP/2.0",
            b"Via: SIP/2.0/TCP %s;rport;branch=z9hG4bKtcp%s" % (own, method),
            b"From: <sip:kim@example.org>;tag=mine",
            b"To: <sip:lee@example.org>",
            b"Call-ID: tcp%d" % self.port,
            b"CSeq: 1 " + method,
            b"Contact: <sip:kim@%s;transport=tcp>" % own,
            *([more] if more else []),
            b"Content-Type: application/sdp",
            b"Content-Length: %d" % len(body),
        ]
        return b"\r\n".join((*lines, b"", body))

    def _listener(self, address: str, port: int) -> socket.socket:
        made = socket.create_server((address, port), family=self._family, reuse_port=True)
        made.settimeout(PATIENCE)
        return self._stack.enter_context(made)

    def _accepted(self, listener: socket.socket) -> socket.socket:
        made, _ = listener.accept()
        made.settimeout(PATIENCE)
        return self._stack.enter_context(made)


def receive(stream: socket.socket, *, body: bool = True) -> bytes:
    """Read one message of these tests, which are short."""
    data = b""
    while b"\r\n\r\n" not in data or (body and not data.partition(b"\r\n\r\n")[2]):
        piece = stream.recv(65535)
        assert piece, data
        data += piece
    return data


def answered(request: bytes, body: bytes = b"", tag: bytes = b"me") -> bytes:
    """Return the 200 to a request."""
    kept = (b"Via", b"From", b"To", b"Call-ID", b"CSeq", b"Contact")
    heads = request.partition(b"\r\n\r\n")[0].split(b"\r\n")
    is_new = b";tag=" not in request.partition(b"\r\nTo:")[2].partition(b"\r\n")[0]
    tail = b";tag=" + tag if is_new else b""
    lines = [one + tail if one.startswith(b"To") else one for one in heads[1:]]
    lines = [one for one in lines if one.startswith(kept)]
    lines += [b"Content-Type: application/sdp", b"Content-Length: %d" % len(body), b"", body]
    return b"SIP/2.0 200 OK\r\n" + b"\r\n".join(lines)


@both_families
def test_a_provider_that_opens_connections_calls_a_telephone_that_has_registered(
    gateway: RunningGateway, lab: Lab, family: int
) -> None:
    with Trunk(lab, family) as line:
        line.control.sendall(line.says(b"REGISTER", more=b"Expires: 60"))
        register = receive(line.served, body=False)
        found = _CONTACT.search(register)
        assert found is not None
        contact = found[1].decode(), int(found[2])
        line.served.sendall(answered(register))
        assert b"<sip:kim@%s:%d;" % (line._host(line.own), line.port) in receive(
            line.control, body=False
        )

        theirs, ours = line.opens(contact)
        invite = (
            b"INVITE sip:kim@%s:%d;transport=tcp SIP/2.0\r\n"
            % (line._host(contact[0]), contact[1])
            + b"Via: SIP/2.0/TCP provider;branch=z9hG4bKin\r\nFrom: <sip:lee@x>;tag=far\r\n"
            b"To: <sip:kim@x>\r\nCall-ID: in%d\r\nCSeq: 1 INVITE\r\n"
            % line.port
            + b"Content-Type: application/sdp\r\n"
            + b"Content-Length: %d\r\n\r\n" % len(line.far_offer())
            + line.far_offer()
        )
        theirs.sendall(invite[:50])
        theirs.sendall(invite[50:])
        ringing = receive(ours)
        assert ringing.startswith(b"INVITE sip:kim@%s:%d;" % (line._host(line.own), line.port))
        ours.sendall(answered(ringing, line.offer()))
        told = line.talks(receive(theirs))
        assert line.sends(MANY, told) == MANY

        theirs.close()
        theirs, ours = line.opens(contact)
        bye = (
            invite.partition(b"Content-Type")[0]
            .replace(b"INVITE", b"BYE")
            .replace(b"To: <sip:kim@x>", b"To: <sip:kim@x>;tag=me")
            .replace(b"z9hG4bKin", b"z9hG4bKbye")
        )
        theirs.sendall(bye + b"Content-Length: 0\r\n\r\n")
        ours.sendall(answered(receive(ours, body=False)))
        receive(theirs, body=False)
        assert line.sends(LATE, told) == 0


@both_families
def test_a_call_out_by_a_connection_that_was_closed_goes_on_until_the_provider_ends_it(
    gateway: RunningGateway, lab: Lab, family: int
) -> None:
    with Trunk(lab, family) as line:
        said = line.says(b"INVITE", body=line.offer())
        line.control.sendall(said[:30])
        line.control.sendall(said[30:])
        invite = receive(line.served)
        told, found = line.talks(invite), _CONTACT.search(invite)
        assert found is not None
        contact = found[1].decode(), int(found[2])
        line.served.sendall(answered(invite, line.far_offer(), b"far"))
        receive(line.control)
        line.control.close()
        line.served.close()
        assert line.sends(MANY, told) == MANY

        theirs, ours = line.opens(contact)
        bye = (
            b"BYE sip:kim@x SIP/2.0\r\nVia: SIP/2.0/TCP provider;branch=z9hG4bKbye\r\n"
            b"From: <sip:lee@example.org>;tag=far\r\nTo: <sip:kim@example.org>;tag=mine\r\n"
            b"Call-ID: tcp%d\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n" % line.port
        )
        theirs.sendall(bye)
        ours.sendall(answered(receive(ours, body=False)))
        receive(theirs, body=False)
        assert line.sends(LATE, told) == 0
        rows = json.loads(gateway.ask("bindings", "list", "--json").stdout)["bindings"]
        assert not [one for one in rows if one["transport"] == "udp"]
