"""What a PCP or NAT-PMP request is answered with; sockets are `server.py`.

A request that is odd or denied gets its standard's own answer, never silence: clients that hear
nothing repeat for ever. What is decided is decided before the first effect.
"""

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Final

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.engine.gateway import Gateway
from sallyport.core.policy.rules import Asker, Relation
from sallyport.core.policy.terms import Frontend
from sallyport.errors import (
    AddressInUse,
    AddressNotAllowed,
    AddressNotAvailable,
    BindError,
    InvalidArgument,
    KernelError,
    OutOfResources,
    PolicyDenied,
    QuotaExceeded,
    Terminating,
)
from sallyport.flags import Transport
from sallyport.frontends.pcp.leases import AllowedPeers, Leases, NotTheOwner, PeersDoNotFactor, Wish
from sallyport.frontends.rights import PORT_MAPPING
from sallyport.wire import natpmp, pcp
from sallyport.wire.natpmp import NatPmpMapping, NatPmpOpcode, NatPmpResult
from sallyport.wire.pcp import PcpRequest, PcpResult

SeenAs = Callable[[Transport, Endpoint, Endpoint], tuple[Endpoint, int] | None]
"""Returns by which address a server sees a client's running flow, and its seconds left."""

_TRANSPORTS: Final = {6: Transport.TCP, 17: Transport.UDP}

_PCP_RESULTS: Final[tuple[tuple[type[BindError], PcpResult], ...]] = (
    (PolicyDenied, PcpResult.NOT_AUTHORIZED),
    (AddressNotAllowed, PcpResult.NOT_AUTHORIZED),
    (QuotaExceeded, PcpResult.USER_EX_QUOTA),
    (AddressInUse, PcpResult.CANNOT_PROVIDE_EXTERNAL),
    (AddressNotAvailable, PcpResult.CANNOT_PROVIDE_EXTERNAL),
    (InvalidArgument, PcpResult.NOT_AUTHORIZED),
    (OutOfResources, PcpResult.NO_RESOURCES),
    (KernelError, PcpResult.NO_RESOURCES),
    (Terminating, PcpResult.NO_RESOURCES),
)
# Section 7.4: after these the same request may succeed soon; after others it stays wrong.
_PASSING: Final = frozenset(
    {PcpResult.NETWORK_FAILURE, PcpResult.NO_RESOURCES, PcpResult.USER_EX_QUOTA}
)
_PASSING_SECONDS: Final = 30
_LASTING_SECONDS: Final = 1800

# What a bind without a primary is refused with where the gateway has no external address.
_NO_ADDRESS: Final = "proxy-address-needed-without-a-primary"

_NATPMP_RESULTS: Final = {
    PcpResult.NETWORK_FAILURE: NatPmpResult.NETWORK_FAILURE,
    PcpResult.NOT_AUTHORIZED: NatPmpResult.NOT_AUTHORIZED,
    PcpResult.CANNOT_PROVIDE_EXTERNAL: NatPmpResult.NO_RESOURCES,
    PcpResult.NO_RESOURCES: NatPmpResult.NO_RESOURCES,
    PcpResult.USER_EX_QUOTA: NatPmpResult.NO_RESOURCES,
}


class PcpResponder:
    """Answers requests of clients, one at a time for each client."""

    def __init__(
        self,
        gateway: Gateway,
        leases: Leases,
        *,
        speaks_nat_pmp: bool,
        seen_as: SeenAs = lambda _transport, _client, _server: None,
    ) -> None:
        """`seen_as` knows the flows that run without us."""
        self._seen_as = seen_as
        self._gateway = gateway
        self._leases = leases
        self._speaks_nat_pmp = speaks_nat_pmp

    @property
    def epoch(self) -> int:
        """Seconds since mappings were last lost (RFC 6887 section 8.5)."""
        return int(self._gateway.clock() - self._leases.began)

    def announcements(self, version: int) -> list[bytes]:
        """Return what clients of this IP version are told unasked (section 14.1, RFC 6886 3.2.1).

        By it they notice that mappings were lost, or that the external address is another.
        """
        said = [pcp.announce(self.epoch)]
        if version == 4 and self._speaks_nat_pmp:
            own = self._gateway.policy.address_towards(None, 4)
            if isinstance(own, IPv4Address):
                said.append(natpmp.address(own, self.epoch))
        return said

    async def answer(self, data: bytes, source: Endpoint) -> bytes | None:
        """Return the answer to one datagram; None for what is no request."""
        if not pcp.is_request(data):
            return None
        if data[0] == natpmp.VERSION and self._speaks_nat_pmp:
            return await self._answer_nat_pmp(data, source)
        try:
            return await self._answer_pcp(data, source)
        except (pcp.Refusal, NotTheOwner, PeersDoNotFactor, BindError) as refusal:
            result, seconds = _result_of(refusal)
            return pcp.refuse(data, result, lifetime=seconds, epoch=self.epoch)

    async def _answer_pcp(self, data: bytes, source: Endpoint) -> bytes:
        request = pcp.parse(data)
        if request.client != source.address:
            raise pcp.Refusal(PcpResult.ADDRESS_MISMATCH)
        if request.peering is not None:
            return self._describe(request.peering, source)
        if request.mapping is None:
            return pcp.announce(self.epoch)
        return await self._map(request, request.mapping, source)

    def _describe(self, peering: pcp.Peering, source: Endpoint) -> bytes:
        """Answer PEER about a flow that runs; of none nothing is made (section 12.3)."""
        transport = _TRANSPORTS.get(peering.protocol)
        if transport is None:
            raise pcp.Refusal(PcpResult.UNSUPP_PROTOCOL)
        if peering.third_party == source.address:
            raise pcp.Refusal(PcpResult.MALFORMED_REQUEST)  # section 13.1
        if peering.third_party is not None:
            # It would tell one host of another's flows.
            raise pcp.Refusal(PcpResult.NOT_AUTHORIZED)
        remote = peering.remote
        verdict = self._gateway.judge(
            PORT_MAPPING, source.address, remote.address, Asker(frontend=Frontend.PCP)
        )
        if not verdict.allowed:
            raise pcp.Refusal(PcpResult.NOT_AUTHORIZED)
        client = source.with_port(peering.internal_port)
        found = self._seen_as(transport, client, remote)
        if found is None or (verdict.relation is Relation.NAT and found[0] == client):
            # One that we relay ourselves (an intercepted protocol) is not the client's own flow.
            raise pcp.Refusal(PcpResult.CANNOT_PROVIDE_EXTERNAL)
        external, seconds = found
        wished = peering.external_address
        if peering.external_port not in (0, external.port) or not (
            wished.is_unspecified or wished == external.address
        ):
            # Section 12.1: a flow that runs is translated as it is, whatever the client expects.
            raise pcp.Refusal(PcpResult.CANNOT_PROVIDE_EXTERNAL)
        return pcp.describe(peering, external=external, lifetime=seconds, epoch=self.epoch)

    async def _map(self, request: PcpRequest, mapping: pcp.Mapping, source: Endpoint) -> bytes:
        if mapping.third_party == source.address:
            raise pcp.Refusal(PcpResult.MALFORMED_REQUEST)  # section 13.1
        if request.lifetime == 0:
            return self._delete(request, mapping, source)
        transport = _TRANSPORTS.get(mapping.protocol)
        if transport is None:
            raise pcp.Refusal(PcpResult.UNSUPP_PROTOCOL)
        if not mapping.internal_port:
            # Section 11.1: all ports of a client. No rule grants ports that no request names.
            raise pcp.Refusal(PcpResult.NOT_AUTHORIZED)
        lease, seconds = await self._leases.grant(_wish_of(request, mapping, transport, source))
        return pcp.grant(
            mapping,
            external=lease.external.address,
            port=lease.external.port,
            lifetime=seconds,
            epoch=self.epoch,
            set_size=lease.count,
        )

    def _delete(self, request: PcpRequest, mapping: pcp.Mapping, source: Endpoint) -> bytes:
        if mapping.internal_port == 0:
            transports = _TRANSPORTS.get(mapping.protocol)
            wanted = tuple(Transport) if transports is None else (transports,)
            client = mapping.third_party or source.address
            self._leases.delete_all(client, wanted, mapping.nonce, source.address)
        elif (transport := _TRANSPORTS.get(mapping.protocol)) is not None:
            self._leases.delete(_wish_of(request, mapping, transport, source))
        return pcp.grant(
            mapping,
            external=mapping.external_address,
            port=mapping.external_port,
            lifetime=0,
            epoch=self.epoch,
            set_size=mapping.port_set.size if mapping.port_set else None,
        )

    # -- NAT-PMP ------------------------------------------------------------------------------

    async def _answer_nat_pmp(self, data: bytes, source: Endpoint) -> bytes | None:
        if source.version != 4:
            return None  # RFC 6886 section 2: a protocol of IPv4 alone
        try:
            asked = natpmp.parse(data)
        except ValueError:
            return natpmp.refuse(data, NatPmpResult.UNSUPP_OPCODE, self.epoch)
        if asked is None:
            return None
        own = self._gateway.external_address(source.address)
        if isinstance(asked, NatPmpOpcode):
            if not isinstance(own, IPv4Address):
                return natpmp.refuse(data, NatPmpResult.NETWORK_FAILURE, self.epoch)
            return natpmp.address(own, self.epoch)
        return await self._nat_pmp_map(data, asked, source)

    async def _nat_pmp_map(self, data: bytes, asked: NatPmpMapping, source: Endpoint) -> bytes:
        transport = Transport.TCP if asked.is_tcp else Transport.UDP
        wish = Wish(
            client=source.with_port(asked.internal_port),
            transport=transport,
            lifetime=asked.lifetime,
            external_port=asked.external_port,
        )
        try:
            if asked.lifetime == 0:
                if asked.internal_port:
                    self._leases.delete(wish)
                else:  # section 3.4: every mapping of this host and protocol
                    host = source.address
                    self._leases.delete_all(host, (transport,), b"", host)
                return natpmp.grant(asked, 0, 0, self.epoch)
            if not asked.internal_port:
                return natpmp.refuse(data, NatPmpResult.NOT_AUTHORIZED, self.epoch)
            lease, seconds = await self._leases.grant(wish)
        except NotTheOwner:  # PCP's mapping of the same port: this protocol has no nonce to prove
            return natpmp.refuse(data, NatPmpResult.NOT_AUTHORIZED, self.epoch)
        except BindError as refusal:
            result, _ = _result_of(refusal)
            return natpmp.refuse(data, _NATPMP_RESULTS[result], self.epoch)
        return natpmp.grant(asked, lease.external.port, seconds, self.epoch)


def _wish_of(
    request: PcpRequest, mapping: pcp.Mapping, transport: Transport, source: Endpoint
) -> Wish:
    count, first = 1, mapping.internal_port
    if mapping.port_set is not None:
        count = min(mapping.port_set.size, limits.MAX_ADDRESSES_PER_CALL, 65536 - first)
    peers: AllowedPeers | None = None
    if mapping.filters is not None:
        if any(one.prefix.version != source.version for one in mapping.filters):
            # It could never match: the client means something else than it says.
            raise pcp.Refusal(PcpResult.MALFORMED_OPTION)
        peers = AllowedPeers.of((one.prefix, one.port) for one in mapping.filters)
    suggested = mapping.external_address
    return Wish(
        client=Endpoint(mapping.third_party or source.address, first),
        transport=transport,
        lifetime=request.lifetime,
        owner=mapping.nonce,
        count=count,
        external_port=mapping.external_port,
        external_address=None if suggested.is_unspecified else suggested,
        must_have=mapping.prefers_failure,
        peers=peers,
        # Whether a host may speak for another is its rule's word (allowed_addresses).
        asker=None if mapping.third_party is None else source.address,
    )


def _result_of(refusal: Exception) -> tuple[PcpResult, int]:
    """Return the result code of a refusal, and for how many seconds it stays true."""
    if isinstance(refusal, NotTheOwner):
        return PcpResult.NOT_AUTHORIZED, int(refusal.seconds)
    if isinstance(refusal, PeersDoNotFactor):
        result = PcpResult.EXCESSIVE_REMOTE_PEERS
    elif isinstance(refusal, pcp.Refusal):
        result = refusal.result
    elif isinstance(refusal, BindError) and refusal.reason == _NO_ADDRESS:
        # Section 7.4: the device has no external address yet, or has none for a moment.
        result = PcpResult.NETWORK_FAILURE
    else:
        found = (code for kind, code in _PCP_RESULTS if isinstance(refusal, kind))
        result = next(found, PcpResult.NO_RESOURCES)
    return result, _PASSING_SECONDS if result in _PASSING else _LASTING_SECONDS
