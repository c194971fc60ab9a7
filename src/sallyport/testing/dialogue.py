"""Dialogue: a protocol conversation as a test reads it, with the real core and no sockets.

Dialogue(FtpFilter())
    .server_says(b"220 ready\r\n").client_hears(b"220 ready\r\n")
    .client_says(b"PORT 10,0,0,8,6,17\r\n")
    .server_hears(b"PORT 203,0,113,1,156,64\r\n")
    .nothing_more()
"""

from dataclasses import replace
from typing import Self

from sallyport.addresses import Endpoint
from sallyport.core.connection import PrimaryConnection
from sallyport.core.filter import ApplicationFilter, DataFilter
from sallyport.core.gateway import Gateway
from sallyport.core.policy import Policy, PublishingRule
from sallyport.testing.memory import MemoryDataPath
from sallyport.testing.world import VirtualWorld, make_gateway, make_policy

CLIENT = {4: "10.0.0.8:50000", 6: "[fd00:a::8]:50000"}
SERVER = {4: "203.0.113.9:21", 6: "[2001:db8::9]:21"}
GATEWAY = {4: "203.0.113.1:50001", 6: "[fd00:a::8]:50001"}

# Of a published server: its client outside, and our end of the leg to the server.
OUTSIDE = {4: "203.0.113.9:50000", 6: "[2001:db8::9]:50000"}
INSIDE = {4: "10.0.0.1:50001", 6: "[fd00:a::1]:50001"}


class _Link:
    """Both sockets as the core may end them; `ended` says how."""

    def __init__(self) -> None:
        self.ended: str | None = None

    def abort(self) -> None:
        self.ended = self.ended or "reset"

    def close(self) -> None:
        self.ended = self.ended or "closed"


class _End:
    """One end of the stream: what was sent to it and not yet heard."""

    def __init__(self, link: _Link) -> None:
        self.heard = bytearray()
        self.is_shut = False
        self._link = link

    def send(self, data: bytes) -> None:
        if self._link.ended is None:
            # A real socket drops them: bytes a test never sees are bytes somebody loses.
            assert not self.is_shut, f"{data!r} was sent after the end of the stream"
            self.heard += data

    def shutdown(self) -> None:
        self.is_shut = True


class Dialogue:
    """One control connection through `application_filter`; every method returns the dialogue.

    The client is inside (10.0.0.8 behind NAT, or fd00:a::8, routed), the server outside. `policy`
    replaces the default one, which allows FTP outwards. `beside` is another dialogue whose gateway
    is to be shared. With `published` it is the other way round: the rule's server is inside, and
    the client outside. Checks raise AssertionError and say what was found instead.
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
        published: PublishingRule | None = None,
    ) -> None:
        if published is not None and beside is None:
            policy = replace(policy or make_policy(), publishing_rules=(published,))
        self.gateway: Gateway
        self.data_path: MemoryDataPath
        self.world: VirtualWorld
        self.gateway, self.data_path, self.world = (
            make_gateway([application_filter], policy=policy)
            if beside is None
            else (beside.gateway, beside.data_path, beside.world)
        )
        self._closed: set[str] = set()
        self.link = _Link()
        self.client_end, self.server_end = _End(self.link), _End(self.link)
        self.connection: PrimaryConnection
        if published is None:
            self.connection = self.gateway.admit_primary(
                application_filter.protocols[0],
                Endpoint.parse(client or CLIENT[version]),
                Endpoint.parse(server or SERVER[version]),
            )
            gateway_address = Endpoint.parse(GATEWAY[version])
        else:
            gateway_address = published.listen
            outside = Endpoint.parse(client or OUTSIDE[gateway_address.version])
            self.connection = self.gateway.admit_published(published, outside)
            self.connection.inside_address = Endpoint.parse(INSIDE[gateway_address.version])
        self._strand = self.gateway.start_primary(
            self.connection,
            gateway_address=gateway_address,
            link=self.link,
            client=self.client_end,
            server=self.server_end,
        )

    # -- speaking -----------------------------------------------------------------------------

    def client_says(self, *segments: bytes) -> Self:
        """Deliver segments from the client, one after another."""
        assert "client" not in self._closed, "the client has closed; it can say no more"
        for segment in segments:
            self._strand.run(self._data_filter.from_client(segment))
        return self

    def server_says(self, *segments: bytes) -> Self:
        """Deliver segments from the server, one after another."""
        assert "server" not in self._closed, "the server has closed; it can say no more"
        for segment in segments:
            self._strand.run(self._data_filter.from_server(segment))
        return self

    def client_closes(self) -> Self:
        """Deliver the client's FIN."""
        self._closed.add("client")
        self._strand.run(self._data_filter.client_closed())
        return self

    def server_closes(self) -> Self:
        """Deliver the server's FIN."""
        self._closed.add("server")
        self._strand.run(self._data_filter.server_closed())
        return self

    def client_resets(self) -> Self:
        """Deliver the client's RST."""
        self.connection.kill("client-reset")
        return self

    def server_resets(self) -> Self:
        """Deliver the server's RST."""
        self.connection.kill("server-reset")
        return self

    def time_passes(self, seconds: float) -> Self:
        """Move the clock; whatever is due on the way happens at its own time."""
        self.world.pass_time(self.gateway, seconds)
        return self

    def waiting_ends(self) -> Self:
        """Let the filter go on that waits for the data path (see `MemoryDataPath.is_slow`)."""
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
        """Check that nobody heard anything that was not checked."""
        assert not self.data_path.sent, f"datagrams were sent: {self.data_path.sent}"
        return self.client_hears(b"").server_hears(b"")

    def still_open(self) -> Self:
        """Check that the connection goes on."""
        assert self.connection.is_open, f"the connection has ended: {self._latest()}"
        return self

    def ended(self, reason: str) -> Self:
        """Check that it was closed in order, all that was sent having left, for this reason."""
        return self._over("closed", reason)

    def was_reset(self, reason: str) -> Self:
        """Check that both ends were reset, for this reason."""
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
            for pinhole in self.data_path.pinholes.values()
        )
        assert found == sorted(expected), f"open: {found}; {self._latest()}"
        return self

    def connects(self, peer: str, listen: str) -> Self:
        """Have `peer` complete a handshake with `listen`, through an open pinhole."""
        arrived = self.data_path.connect(Endpoint.parse(peer), Endpoint.parse(listen))
        assert arrived is not None, f"{peer} cannot reach {listen}; {self._latest()}"
        return self

    def cannot_connect(self, peer: str, listen: str) -> Self:
        """Check that `peer` cannot reach `listen`."""
        arrived = self.data_path.connect(Endpoint.parse(peer), Endpoint.parse(listen))
        assert arrived is None, f"{peer} reached {arrived} by {listen}"
        return self

    def attempts(self, peer: str, listen: str) -> Self:
        """Have `peer` send a SYN to `listen` and nothing more."""
        self.data_path.attempt(Endpoint.parse(peer), Endpoint.parse(listen))
        return self

    def transfers(self, *peers: str) -> Self:
        """Check whose flows are running."""
        found = sorted(str(peer) for flows in self.data_path.flows.values() for peer in flows)
        assert found == sorted(peers), f"running: {found}; {self._latest()}"
        return self

    def finishes(self, peer: str) -> Self:
        """Have the flow of `peer` close from both ends."""
        self.data_path.finish(Endpoint.parse(peer))
        return self

    # -- datagrams ----------------------------------------------------------------------------

    def gateway_sends(self, data: bytes, listen: str, peer: str) -> Self:
        """Check and consume the oldest datagram sent to `peer` as if `listen` had sent it."""
        sent = self.data_path.sent[:1]
        expected = [(Endpoint.parse(listen), Endpoint.parse(peer), data)]
        assert sent == expected, f"sent: {sent}; {self._latest()}"
        del self.data_path.sent[:1]
        return self

    def datagram_arrives(self, peer: str, listen: str) -> Self:
        """Have `peer` send a datagram to `listen`, through an open pinhole to the client."""
        arrived = self.data_path.send(Endpoint.parse(peer), Endpoint.parse(listen))
        assert arrived is not None, f"{peer} cannot reach {listen}; {self._latest()}"
        return self

    def datagram_is_lost(self, peer: str, listen: str) -> Self:
        """Check that `peer` cannot reach `listen` with a datagram."""
        arrived = self.data_path.send(Endpoint.parse(peer), Endpoint.parse(listen))
        assert arrived is None, f"{peer} reached {arrived} by {listen}"
        return self

    def answer_arrives(self, listen: str, peer: str) -> Self:
        """Have the client send a datagram back to `peer`, who had reached it by `listen`."""
        arrived = self.data_path.answer(Endpoint.parse(listen), Endpoint.parse(peer))
        assert arrived, f"the client cannot answer {peer} by {listen}; {self._latest()}"
        return self

    # -- accidents ----------------------------------------------------------------------------

    def next_bind_fails(self, failure: Exception) -> Self:
        """Have the data path refuse the next pinhole."""
        self.data_path.fail_next = failure
        return self

    # -- inside -------------------------------------------------------------------------------

    @property
    def _data_filter(self) -> DataFilter:
        attached = self.connection.data_filter
        assert attached is not None, f"no data filter was attached; {self._latest()}"
        return attached

    def _hear(self, end: _End, expected: bytes, who: str) -> Self:
        heard = bytes(end.heard)
        assert heard == expected, f"{who} heard {heard!r}, not {expected!r}; {self._latest()}"
        end.heard.clear()
        return self

    def _over(self, how: str, reason: str) -> Self:
        assert self.link.ended == how, f"it is {self.link.ended or 'open'}; {self._latest()}"
        return self.noted("connect.closed", reason)

    def _latest(self) -> str:
        return f"latest records: {self.world.journal.records[-3:]}"
