"""What a Transport header of SETUP asks for, and how it is told to the other side.

Pure: no port is opened here. Version 1.0 names the ports (`client_port`), 2.0 the addresses
(`dest_addr`); what is put in their place is put in the same words.
"""

from dataclasses import dataclass

from sallyport import api, limits
from sallyport.wire import rtsp
from sallyport.wire.rtsp import TransportSpec

_MAX_PAIR = 65534
"""The last even port: RTCP is one above RTP (RFC 3550 section 11)."""


@dataclass(frozen=True, slots=True)
class MediaOffer:
    """One way of sending media that its receiver offers: the ports at which it would listen."""

    place: int
    """Which specification of the header it is."""
    spec: TransportSpec
    ports: tuple[int, ...]
    """One or two, as the receiver has written them."""

    @property
    def first(self) -> int:
        """The port of RTP; that of RTCP is one above."""
        return self.ports[0]

    def told(self, proxy: api.Endpoint) -> TransportSpec:
        """Return it naming the gateway's ports; the destination is where the request comes from."""
        listens = tuple(api.Endpoint(proxy.address, proxy.port + i) for i in range(len(self.ports)))
        if b"dest_addr" in self.spec.parameters.names():
            return self.spec.saying(b"dest_addr", rtsp.write_addresses(listens))
        ports = rtsp.write_ports(tuple(one.port for one in listens))
        return self.spec.without(b"destination").saying(b"client_port", ports)

    def given_back(self, answer: TransportSpec, client: api.IpAddress) -> TransportSpec:
        """Return the specification of an answer with what the receiver itself had said."""
        pair = (self.first, self.first + 1)
        if answer.ports(b"client_port"):
            ports = rtsp.write_ports(pair[: len(answer.ports(b"client_port"))])
            answer = answer.saying(b"client_port", ports)
        for name in (b"destination", b"dest_addr"):
            said = self.spec.parameters.get(name)
            if name in answer.parameters.names():
                answer = answer.saying(name, str(client).encode() if said is None else said)
        return answer

    def is_chosen_by(self, answer: TransportSpec, proxy: api.Endpoint) -> bool:
        """Whether an answer chooses this offer, which the server knows by the port `proxy`."""
        named = _client_ports(answer)
        return answer.is_udp and (not named or named[0] == proxy.port)


def offers_of(specs: list[TransportSpec], receiver: api.IpAddress) -> list[MediaOffer]:
    """Return what a header offers over UDP to the receiver itself.

    Groups, ICE and media within the connection are left alone. Raises ProtocolError:
    `media-to-another-host` (attack R01), `bad-rtsp-ports`, `not-an-even-pair` (attack R02),
    `bad-rtsp-address`, `too-many-transports`, `parameter-twice`.
    """
    found: list[MediaOffer] = []
    for place, spec in enumerate(specs):
        require_destination(spec, receiver)
        if not spec.is_udp or spec.is_multicast or spec.is_ice:
            continue
        ports = _client_ports(spec)
        if not ports:
            continue
        if ports[0] % 2 or ports[0] > _MAX_PAIR or ports[1:] not in ((), (ports[0] + 1,)):
            raise api.ProtocolError("not-an-even-pair", bytes(spec))
        found.append(MediaOffer(place, spec, ports))
    if len(found) > limits.MAX_RTSP_TRANSPORTS:
        raise api.ProtocolError("too-many-transports")
    return found


def require_destination(spec: TransportSpec, receiver: api.IpAddress) -> None:
    """Check that media goes to who asks; raises ProtocolError as `offers_of` (attack R01)."""
    named = [spec.address(b"destination"), *(one.host for one in spec.addresses(b"dest_addr"))]
    if spec.is_multicast or spec.is_ice:
        return
    if any(address not in (None, receiver) for address in named):
        raise api.ProtocolError("media-to-another-host", bytes(spec))


def _client_ports(spec: TransportSpec) -> tuple[int, ...]:
    """Return the ports of the client in the words of either version; raises ProtocolError."""
    return spec.ports(b"client_port") or tuple(
        one.port for one in spec.addresses(b"dest_addr") if one.port is not None
    )
