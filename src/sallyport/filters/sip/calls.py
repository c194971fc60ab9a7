"""The media of one call: reserved by what the telephone says, opened by what the far side says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from sallyport import api
from sallyport.filters.sip.settings import SipSettings
from sallyport.wire.sdp import MediaSection, SessionDescription

Ports = tuple[int, ...]
"""Where the telephone takes one stream: RTP and RTCP, of several layers one after another."""

_UNSET = frozenset({ip_address("0.0.0.0"), ip_address("::")})  # noqa: S104 - RFC 2543's hold
_MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class FarStream:
    """What the far side says about one stream."""

    address: api.IpAddress
    is_muxed: bool
    """Whether it takes RTCP at the port of RTP (RFC 5761)."""


class CallOpenings:
    """Opens the ports of one telephone's calls."""

    def __init__(
        self,
        connection: api.PrimaryConnection,
        session_filter: api.SessionFilter,
        settings: SipSettings,
    ) -> None:
        self.connection = connection
        self._session_filter = session_filter
        self._is_server_alone = settings.media_peers == "signalling"

    async def reserve(self, ports: Ports) -> api.Binding:
        """Reserve gateway ports that lead to these of the telephone; raises BindError."""
        own = self.connection.client.address
        return await self.connection.session.bind_for_client(
            [api.Endpoint(own, port) for port in ports],
            transport=api.Transport.UDP,
            protocol=self.connection.protocol,
            # The far side is known by its address alone: its port may be any (RFC 4961), and a
            # single place would be taken by the first forged datagram.
            flags=api.BindFlags.BIDIRECTIONAL | api.BindFlags.ALLOW_MULTIPLE,
            session_filter=self._session_filter,
            ip_filter=api.IpFilter.of(self.connection.server.address),
            primary=self.connection,
            close_with_primary="kill",
            armed=False,
        )

    def peer(self, said: api.IpAddress) -> api.IpAddress | None:
        """Return who may send media, of what the far side names; None: no host (P06, P13)."""
        if self._is_server_alone:
            return self.connection.server.address
        return said if self.is_outside(said) else None

    def is_outside(self, address: api.IpAddress) -> bool:
        """Whether the rules let the telephone speak to this host."""
        if address.version != self.connection.client.address.version or address.is_multicast:
            return False
        session = self.connection.session
        return session.host_access_check(self.connection.protocol, address).allowed


def own_streams(said: SessionDescription, openings: CallOpenings) -> dict[int, Ports]:
    """Return the ports of each stream that a telephone takes at its own address, by its number.

    A description that is already another's, of STUN or a public address, has none and is left
    alone, and so is one with candidates. Raises ProtocolError: `media-without-address` (P14),
    `media-to-another-host` (P06), `not-an-even-pair` (P07), `media-not-over-udp`.
    """
    own = openings.connection.client.address
    found: dict[int, Ports] = {}
    if said.is_ice:
        return found
    for number, section in enumerate(said.media):
        if not section.port:
            continue
        address = None if section.connection is None else said.address(section.connection)
        if address is None:
            raise api.ProtocolError("media-without-address")
        if address == own:
            found[number] = _ports(said, section, own)
        elif address not in _UNSET and not _is_told(address, openings):
            raise api.ProtocolError("media-to-another-host")
    return found


def _is_told(address: api.IpAddress, openings: CallOpenings) -> bool:
    """Whether a telephone may name this address: its public one, or any host outside."""
    known = openings.connection.gateway_address
    return (known is not None and address == known.address) or openings.is_outside(address)


def _ports(said: SessionDescription, section: MediaSection, own: api.IpAddress) -> Ports:
    if section.profile.upper().startswith((b"TCP", b"TLS", b"DTLS/SCTP")):
        raise api.ProtocolError("media-not-over-udp")
    is_rtp = section.profile.upper().startswith((b"RTP/", b"UDP/TLS/RTP"))
    count = 2 * section.count if is_rtp else section.count
    rtcp = said.rtcp_port(section)
    if rtcp is not None and section.rtcp is not None:
        if said.address(section.rtcp) not in (None, own):
            raise api.ProtocolError("media-to-another-host")  # attack P11
        if rtcp not in (section.port, section.port + 1):
            return section.port, rtcp
    if (is_rtp and section.port % 2) or section.port + count - 1 > _MAX_PORT:
        raise api.ProtocolError("not-an-even-pair")
    return tuple(range(section.port, section.port + count))


def rewritten(
    said: SessionDescription, bindings: Mapping[int, api.Binding], own: api.IpAddress
) -> bytes:
    """Return the description with the gateway's addresses and ports in place of the telephone's."""
    changes: dict[int, bytes] = {}
    for number, binding in bindings.items():
        section, proxy = said.media[number], binding.proxy_address
        changes[section.line] = said.with_port(section.line, proxy.port)
        if section.connection is not None:
            changes[section.connection] = said.with_address(section.connection, proxy.address)
        if section.rtcp is not None:
            is_same = said.rtcp_port(section) == section.port
            changed = said.with_port(section.rtcp, proxy.port + (not is_same))
            said_there = said.address(section.rtcp)
            if said_there is not None:
                changed = changed.replace(str(said_there).encode(), str(proxy.address).encode())
            changes[section.rtcp] = changed
    if bindings and said.origin is not None and said.address(said.origin) == own:
        proxy = next(iter(bindings.values())).proxy_address
        changes[said.origin] = said.with_address(said.origin, proxy.address)
    return said.rewritten(changes)


@dataclass(slots=True)
class SipCall:
    """One call of a telephone, known by its Call-ID and the telephone's tag."""

    own_tag: bytes
    is_established: bool = False
    is_ending: bool = False
    """Whether one side has said BYE."""
    silent_seconds: float = 0.0
    _bindings: dict[Ports, api.Binding] = field(default_factory=dict)
    _wanted: dict[int, Ports] = field(default_factory=dict)
    """The streams of the latest description of the telephone."""
    _agreed: dict[int, Ports] = field(default_factory=dict)
    """Those that both sides have agreed on."""
    _far: dict[bytes, dict[int, FarStream]] = field(default_factory=dict)
    """What the far side says, by its tag: before the answer there may be several (P12)."""
    _carried: int = 0

    @property
    def far_tags(self) -> frozenset[bytes]:
        """The tags by which the far side has spoken."""
        return frozenset(self._far)

    async def wants(
        self, openings: CallOpenings, streams: dict[int, Ports]
    ) -> dict[int, api.Binding]:
        """Return the ports for what the telephone says; those it has named before stay.

        Raises BindError; then the call is as it was.
        """
        made: list[Ports] = []
        try:
            for ports in streams.values():
                if ports not in self._bindings:
                    self._bindings[ports] = await openings.reserve(ports)
                    made.append(ports)
        except BaseException:
            for ports in made:
                self._bindings.pop(ports).kill("refused")
            raise
        self._wanted = streams
        return {number: self._bindings[ports] for number, ports in streams.items()}

    def answers(self, tag: bytes, said: SessionDescription, openings: CallOpenings) -> bool:
        """Take what the far side says; return whether it named a host that may not send."""
        known, is_refused = self._far.setdefault(tag, {}), False
        for number, section in enumerate(said.media):
            address = None if section.connection is None else said.address(section.connection)
            if not section.port or address is None or address in _UNSET:
                continue  # on hold: who was known before may come back
            peer = openings.peer(address)
            if peer is None:
                is_refused = True
            else:
                known[number] = FarStream(peer, b"rtcp-mux" in section.attributes)
        return is_refused

    async def open(self) -> None:
        """Let those in who are known, to what the telephone wants; raises BindError."""
        for number, ports in self._wanted.items():
            binding = self._bindings[ports]
            far = [one[number] for one in self._far.values() if number in one]
            if not far:
                continue
            peers = api.IpFilter.of(*{one.address for one in far})
            if binding.ip_filter != peers:
                await binding.set_peers(peers)
            if binding.state is api.State.RESERVED:
                await binding.arm()
                if all(one.is_muxed for one in far) and len(ports) == 2:
                    binding.connections[1].kill("rtcp-is-muxed")

    async def agree(self, tag: bytes) -> None:
        """Take note that both sides agree: of several far sides one is left; raises BindError."""
        if tag in self._far:
            self._far = {tag: self._far[tag]}
        self._agreed = self._wanted
        self._prune()
        await self.open()

    def disagree(self) -> None:
        """Take note that a change was refused: all stays as it was (RFC 3261 section 14.1)."""
        self._wanted = self._agreed
        self._prune()

    def end(self, reason: str) -> None:
        """Close all its ports, with what runs."""
        for binding in self._bindings.values():
            binding.kill(reason)
        self._bindings.clear()

    def passes_time(self, seconds: float) -> None:
        """Note that time has passed without a message; datagrams of media are a sign of life."""
        carried = sum(
            sum(port.traffic()[1:])
            for binding in self._bindings.values()
            for port in binding.connections
        )
        self.silent_seconds = 0.0 if carried != self._carried else self.silent_seconds + seconds
        self._carried = carried

    def _prune(self) -> None:
        for ports in [ports for ports in self._bindings if ports not in self._wanted.values()]:
            self._bindings.pop(ports).kill("replaced")
