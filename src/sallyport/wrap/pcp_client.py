"""Asking a gateway for ports by PCP, one request after another (RFC 6887 section 8.1)."""

import os
import socket
from collections.abc import Sequence

from sallyport.addresses import IpAddress, IpNetwork, parse_address
from sallyport.wire import pcp
from sallyport.wire.pcp import MapAnswer, PcpResult
from sallyport.wrap.mapped import Mapped, Refused

PORT = 5351
# Section 8.1.1 begins with 3 s and goes on for ever; the program that waits is a person's.
_WAITS = (0.25, 0.5, 1.0, 2.0)


class PcpClient:
    """Speaks with one gateway (`mapped.Mapper`); blocks, for at most four seconds a request."""

    def __init__(self, gateway: IpAddress, peers: Sequence[IpNetwork], lifetime: int) -> None:
        """`peers`: who may connect; none: anyone. Raises OSError without a route."""
        family = socket.AF_INET if gateway.version == 4 else socket.AF_INET6
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.connect((str(gateway), PORT))
        self.address = parse_address(self._socket.getsockname()[0])
        """Our own address, as the gateway sees it."""
        self._filters = tuple(pcp.PeerFilter(prefix, 0) for prefix in peers)
        self._lifetime = lifetime

    def map(self, protocol: int, port: int) -> Mapped:
        """Ask for an external port; raises Refused."""
        return self._ask(protocol, port, os.urandom(12), 0, self._lifetime)

    def renew(self, known: Mapped) -> Mapped:
        """Ask for another lifetime of the same port; raises Refused."""
        return self._ask(
            known.protocol, known.internal_port, known.nonce, known.port, self._lifetime
        )

    def delete(self, known: Mapped) -> None:
        """Return the port to the gateway; raises Refused."""
        self._ask(known.protocol, known.internal_port, known.nonce, known.port, 0)

    def close(self) -> None:
        """Close the socket; mappings stay until their lifetime ends."""
        self._socket.close()

    @property
    def news(self) -> int | None:
        """None: what a gateway announces goes to a port of its own (section 14.1)."""
        return None

    def heed(self) -> bool:
        """Return True: nothing is heard."""
        return True

    def _ask(
        self, protocol: int, port: int, nonce: bytes, external_port: int, lifetime: int
    ) -> Mapped:
        request = pcp.map_request(
            self.address,
            nonce,
            protocol,
            port,
            lifetime=lifetime,
            external_port=external_port,
            filters=self._filters if lifetime else (),
        )
        answer = self._exchange(request, nonce)
        if answer is None:
            raise Refused("no gateway answers; is [frontends.pcp] in its configuration?")
        if answer.result is not PcpResult.SUCCESS:
            raise Refused(f"the gateway refuses: {answer.result.name.lower().replace('_', '-')}")
        return Mapped(protocol, port, answer.external, answer.port, answer.lifetime, nonce)

    def _exchange(self, request: bytes, nonce: bytes) -> MapAnswer | None:
        for wait in _WAITS:
            try:
                self._socket.send(request)
                self._socket.settimeout(wait)
                while True:
                    answer = pcp.parse_answer(self._socket.recv(pcp.MAX_BYTES))
                    if answer is not None and answer.nonce == nonce:
                        return answer
            except OSError:  # a time-out, or the port is closed: it may be there a moment later
                continue
        return None
