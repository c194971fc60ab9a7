"""Dialogue: a protocol conversation as a test reads it, with the real core and no sockets.

Dialogue(FtpFilter())
    .server_says(b"220 ready\r\n").client_hears(b"220 ready\r\n")
    .client_says(b"PORT 10,0,0,8,6,17\r\n")
    .server_hears(b"PORT 203,0,113,1,156,64\r\n")
    .nothing_more()
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Self

from sallyport.addresses import Endpoint
from sallyport.core.engine.gateway import Gateway
from sallyport.core.model.connection import PrimaryConnection
from sallyport.core.model.filter import ApplicationFilter
from sallyport.core.pinholes.datapath import DataPathKind
from sallyport.core.policy.protocols import Direction, ProtocolDefinition
from sallyport.core.policy.rules import Policy, PublishingRule
from sallyport.testing.flows import MemoryEnd, MemoryLink, MemorySource
from sallyport.testing.memory import MemoryDataPath
from sallyport.testing.transfer import Transfer
from sallyport.testing.world import VirtualWorld, make_gateway, make_policy

CLIENT = {4: "10.0.0.8:50000", 6: "[fd00:a::8]:50000"}
SERVER = {4: "203.0.113.9:{}", 6: "[2001:db8::9]:{}"}
GATEWAY = {4: "203.0.113.1:50001", 6: "[fd00:a::8]:50001"}

# For a published server: its client outside, and our end of the connection to the server.
OUTSIDE = {4: "203.0.113.9:50000", 6: "[2001:db8::9]:50000"}
INSIDE = {4: "10.0.0.1:50001", 6: "[fd00:a::1]:50001"}


class Dialogue:
    """One control connection through `application_filter`; every method returns the dialogue.

    The client is inside (10.0.0.8 behind NAT, or fd00:a::8, routed), the server outside, at the
    port of `protocol`, by default the filter's first one. `others` are more filters of the same
    gateway. `policy` replaces the default policy, which allows the protocols of all filters
    outwards. `within` is a gateway, made by `make_gateway`, to use instead of a new one; `beside`
    is another dialogue whose gateway this one shares. With `published` the directions are reversed:
    the rule's server is inside and the client outside. A failed check raises AssertionError and
    shows what was found.
    """

    def __init__(
        self,
        application_filter: ApplicationFilter,
        *,
        version: int = 4,
        client: str | None = None,
        server: str | None = None,
        policy: Policy | None = None,
        beside: "Dialogue | None" = None,
        within: tuple[Gateway, MemoryDataPath, VirtualWorld] | None = None,
        published: PublishingRule | None = None,
        others: Sequence[ApplicationFilter] = (),
        protocol: ProtocolDefinition | None = None,
    ) -> None:
        filters = [application_filter, *others]
        if beside is not None:
            within = beside.gateway, beside.data_path, beside.world
        if within is None:
            policy = policy or policy_for(filters)
            if published is not None:
                policy = replace(policy, publishing_rules=(published,))
            within = make_gateway(filters, policy=policy)
        self.gateway: Gateway
        self.data_path: MemoryDataPath
        self.world: VirtualWorld
        self.gateway, self.data_path, self.world = within
        user_path = self.gateway.data_paths[DataPathKind.USER]
        assert isinstance(user_path, MemoryDataPath)
        self.user_path = user_path
        self._closed: set[str] = set()
        self.link = MemoryLink()
        self.client_end, self.server_end = self.link.client, self.link.server
        self.connection: PrimaryConnection
        if published is None:
            protocol = protocol or application_filter.protocols[0]
            self.connection = self.gateway.admit_primary(
                protocol,
                Endpoint.parse(client or CLIENT[version]),
                Endpoint.parse(server or SERVER[version].format(protocol.port)),
            )
            gateway_address = Endpoint.parse(GATEWAY[version])
        else:
            gateway_address = published.listen
            outside = Endpoint.parse(client or OUTSIDE[gateway_address.version])
            self.connection = self.gateway.admit_published(published, outside)
            self.connection.inside_address = Endpoint.parse(INSIDE[gateway_address.version])
        self.connection.link = self.link
        self._client = MemorySource(self.connection.chain, is_dialled=False)
        self._server = MemorySource(self.connection.chain, is_dialled=True)

        def start() -> None:
            self.connection.chain.on_idle = self._settle
            self.gateway.start_primary(
                self.connection,
                gateway_address=gateway_address,
                link=self.link,
                client=self.client_end,
                server=None if self.connection.is_emulated else self.server_end,
            )

        self.gateway.announce_primary(self.connection, start)

    # -- speaking -----------------------------------------------------------------------------

    def client_says(self, *segments: bytes) -> Self:
        """Deliver segments from the client, one after another."""
        assert "client" not in self._closed, "the client has closed; it can say no more"
        for segment in segments:
            self._client.says(segment)
        return self

    def server_says(self, *segments: bytes) -> Self:
        """Deliver segments from the server, one after another."""
        assert "server" not in self._closed, "the server has closed; it can say no more"
        for segment in segments:
            self._server.says(segment)
        return self

    def client_closes(self) -> Self:
        """Deliver the client's FIN."""
        self._closed.add("client")
        self._client.says(None)
        self._end_if_complete()
        return self

    def server_closes(self) -> Self:
        """Deliver the server's FIN."""
        self._closed.add("server")
        self._server.says(None)
        self._end_if_complete()
        return self

    def has_closed(self, who: str) -> bool:
        """Whether "client" or "server" has delivered its FIN."""
        return who in self._closed

    def client_resets(self) -> Self:
        """Deliver the client's RST."""
        self.connection.kill("client-reset")
        return self

    def server_resets(self) -> Self:
        """Deliver the server's RST."""
        self.connection.kill("server-reset")
        return self

    def time_passes(self, seconds: float) -> Self:
        """Move the clock forward; each deadline on the way passes at its own time."""
        self.world.pass_time(self.gateway, seconds)
        return self

    def waiting_ends(self) -> Self:
        """Continue the filter that waits for the data path (see `MemoryDataPath.is_slow`)."""
        self.world.resume()
        return self

    # -- hearing ------------------------------------------------------------------------------

    def client_hears(self, expected: bytes) -> Self:
        """Check and consume exactly `expected` at the client."""
        return self._hear(self.client_end, expected, "client")

    def server_hears(self, expected: bytes) -> Self:
        """Check and consume exactly `expected` at the server."""
        return self._hear(self.server_end, expected, "server")

    def server_hears_end(self) -> Self:
        """Check that the client's FIN was passed on."""
        assert self.server_end.is_shut, "the server's stream has not ended"
        return self

    def nothing_more(self) -> Self:
        """Check that no host received anything that was not checked."""
        assert not self.data_path.sent, f"datagrams were sent: {self.data_path.sent}"
        return self.client_hears(b"").server_hears(b"")

    def still_open(self) -> Self:
        """Check that the connection is still open."""
        assert self.connection.is_open, f"the connection has ended: {self._latest()}"
        return self

    def ended(self, reason: str) -> Self:
        """Check that the connection was closed after all data was sent, for this reason."""
        return self._over("closed", reason)

    def was_reset(self, reason: str) -> Self:
        """Check that both ends of the connection were reset, for this reason."""
        return self._over("reset", reason)

    def noted(self, event: str, reason: str) -> Self:
        """Check the reason code of the latest journal record of `event`."""
        reasons = self.world.journal.reasons(event)
        assert reasons[-1:] == [reason], f"{event}: {reasons}; {self._latest()}"
        return self

    # -- pinholes -----------------------------------------------------------------------------

    def pinholes(self, *expected: str) -> Self:
        """Check the open pinholes, each as `LISTEN -> TARGET from SOURCES`."""
        found = sorted(
            f"{pinhole.listen} -> {pinhole.target} from {pinhole.sources}"
            for path in self._paths
            for pinhole in path.pinholes.values()
        )
        assert found == sorted(expected), f"open: {found}; {self._latest()}"
        return self

    def connects(self, peer: str, listen: str) -> Self:
        """Complete a handshake of `peer` with `listen`, through an open pinhole."""
        arrived = self._connect(peer, listen)
        assert arrived is not None, f"{peer} cannot reach {listen}; {self._latest()}"
        return self

    def cannot_connect(self, peer: str, listen: str) -> Self:
        """Check that `peer` cannot reach `listen`."""
        arrived = self._connect(peer, listen)
        assert arrived is None, f"{peer} reached {arrived} by {listen}"
        return self

    def knocks(self, peer: str, listen: str) -> Self:
        """Connect `peer` to `listen`; a filter may deny the connection, or answer later."""
        self._connect(peer, listen)
        return self

    def transfer(self, peer: str, listen: str) -> Transfer:
        """Connect `peer` to `listen`; return the transfer whose bytes data filters see."""
        return self.connects(peer, listen).running(peer)

    def datagrams(self, peer: str, listen: str, *first: bytes) -> Transfer:
        """Send the first datagrams of `peer` to `listen`; return the transfer."""
        for data in first:
            self.datagram_arrives(peer, listen, data)
        return self.running(peer)

    def running(self, peer: str) -> Transfer:
        """Return the running transfer of `peer` whose bytes data filters see."""
        who = Endpoint.parse(peer)
        for (_, came), flow in self.user_path.filtered.items():
            if came == who:
                is_inward = who.address != self.connection.session.client_address
                return Transfer(flow, is_client_dialled=is_inward, latest=self._latest)
        raise AssertionError(f"no transfer of {peer} has data filters; {self._latest()}")

    def attempts(self, peer: str, listen: str) -> Self:
        """Send a SYN of `peer` to `listen` and nothing more."""
        for path in self._paths:
            path.attempt(Endpoint.parse(peer), Endpoint.parse(listen))
        return self

    def transfers(self, *peers: str) -> Self:
        """Check which peers have a running flow."""
        found = sorted(
            str(peer) for path in self._paths for flows in path.flows.values() for peer in flows
        )
        assert found == sorted(peers), f"running: {found}; {self._latest()}"
        return self

    def finishes(self, peer: str) -> Self:
        """Close the flow of `peer` from both ends."""
        for path in self._paths:
            path.finish(Endpoint.parse(peer))
        return self

    # -- datagrams ----------------------------------------------------------------------------

    def gateway_sends(self, data: bytes, listen: str, peer: str) -> Self:
        """Check and consume the oldest datagram sent to `peer` as if `listen` had sent it."""
        sent = self.data_path.sent[:1]
        expected = [(Endpoint.parse(listen), Endpoint.parse(peer), data)]
        assert sent == expected, f"sent: {sent}; {self._latest()}"
        del self.data_path.sent[:1]
        return self

    def datagram_arrives(self, peer: str, listen: str, data: bytes = b"") -> Self:
        """Send a datagram of `peer` to `listen`, through an open pinhole to the client."""
        arrived = self._send(peer, listen, data)
        assert arrived is not None, f"{peer} cannot reach {listen}; {self._latest()}"
        return self

    def datagram_is_lost(self, peer: str, listen: str) -> Self:
        """Check that `peer` cannot reach `listen` with a datagram."""
        arrived = self._send(peer, listen, b"")
        assert arrived is None, f"{peer} reached {arrived} by {listen}"
        return self

    def answer_arrives(self, listen: str, peer: str, data: bytes = b"") -> Self:
        """Send a datagram of the client back to `peer`, which had reached it by `listen`."""
        came, where = Endpoint.parse(peer), Endpoint.parse(listen)
        arrived = any(path.answer(where, came, data) for path in self._paths)
        assert arrived, f"the client cannot answer {peer} by {listen}; {self._latest()}"
        return self

    # -- accidents ----------------------------------------------------------------------------

    def next_bind_fails(self, failure: Exception) -> Self:
        """Make the data path refuse the next pinhole."""
        self.data_path.fail_next = failure
        return self

    # -- inside -------------------------------------------------------------------------------

    @property
    def _paths(self) -> tuple[MemoryDataPath, MemoryDataPath]:
        return self.data_path, self.user_path

    def _connect(self, peer: str, listen: str) -> Endpoint | None:
        came, where = Endpoint.parse(peer), Endpoint.parse(listen)
        arrived = self.data_path.connect(came, where)
        return arrived or self.user_path.connect(came, where)

    def _send(self, peer: str, listen: str, data: bytes) -> Endpoint | None:
        came, where = Endpoint.parse(peer), Endpoint.parse(listen)
        return self.data_path.send(came, where, data) or self.user_path.send(came, where, data)

    def _settle(self) -> None:
        self._client.settle()
        self._server.settle()
        self._end_if_complete()

    def _end_if_complete(self) -> None:
        """End the connection as a front end does when both streams have ended."""
        ends = self.client_end, self.server_end
        if len(self._closed) == len(ends) and all(end.is_shut for end in ends):
            self.connection.close("closed")

    def _hear(self, end: MemoryEnd, expected: bytes, who: str) -> Self:
        heard = bytes(end.heard)
        assert heard == expected, f"{who} heard {heard!r}, not {expected!r}; {self._latest()}"
        end.take()
        return self

    def _over(self, how: str, reason: str) -> Self:
        assert self.link.ended == how, f"it is {self.link.ended or 'open'}; {self._latest()}"
        return self.noted("connect.closed", reason)

    def _latest(self) -> str:
        return f"latest records: {self.world.journal.records[-3:]}"


def policy_for(filters: Sequence[ApplicationFilter]) -> Policy:
    """Return a policy that allows what these filters handle, from inside outwards."""
    return make_policy(protocols=frozenset(one.name for one in _outbound(filters)))


def _outbound(filters: Sequence[ApplicationFilter]) -> list[ProtocolDefinition]:
    protocols = [protocol for one in filters for protocol in one.protocols]
    return [one for one in protocols if one.direction is Direction.OUTBOUND]
