"""Dialogue: a protocol conversation as a test reads it, with the real core and no sockets.

Dialogue(FtpFilter())
    .server_says(b"220 ready\r\n").client_hears(b"220 ready\r\n")
    .client_says(b"PORT 10,0,0,8,6,17\r\n")
    .server_hears(b"PORT 203,0,113,1,156,64\r\n")
    .nothing_more()
"""

from typing import Any, Self

from sallyport.addresses import Endpoint
from sallyport.core.connection import PrimaryConnection
from sallyport.core.filter import ApplicationFilter
from sallyport.core.gateway import Gateway
from sallyport.core.policy import Policy
from sallyport.errors import BindError
from sallyport.testing.memory import MemoryDataPath
from sallyport.testing.world import VirtualWorld, make_gateway

CLIENT = {4: "10.0.0.8:50000", 6: "[fd00:a::8]:50000"}
SERVER = {4: "203.0.113.9:21", 6: "[2001:db8::9]:21"}
GATEWAY = {4: "203.0.113.1:50001", 6: "[fd00:a::8]:50001"}


class _End:
    """One end of the stream: what was sent to it and not yet heard."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.is_shut = False

    def send(self, data: bytes) -> None:
        self.heard += data

    def shutdown(self) -> None:
        self.is_shut = True


class _Link:
    def __init__(self) -> None:
        self.ended: str | None = None

    def abort(self) -> None:
        self.ended = self.ended or "reset"

    def close(self) -> None:
        self.ended = self.ended or "closed"


class Dialogue:
    """One control connection through `application_filter`; every method returns the dialogue."""

    def __init__(
        self,
        application_filter: ApplicationFilter,
        *,
        version: int = 4,
        client: str | None = None,
        server: str | None = None,
        policy: Policy | None = None,
        beside: "Dialogue | None" = None,
    ) -> None:
        self.gateway: Gateway
        self.data_path: MemoryDataPath
        self.world: VirtualWorld
        self.gateway, self.data_path, self.world = (
            make_gateway([application_filter], policy=policy)
            if beside is None
            else (beside.gateway, beside.data_path, beside.world)
        )
        self.client_end, self.server_end, self.link = _End(), _End(), _Link()
        self.connection: PrimaryConnection = self.gateway.admit_primary(
            application_filter.protocols[0],
            Endpoint.parse(client or CLIENT[version]),
            Endpoint.parse(server or SERVER[version]),
        )
        self._strand = self.gateway.start_primary(
            self.connection,
            gateway_address=Endpoint.parse(GATEWAY[version]),
            link=self.link,
            client=self.client_end,
            server=self.server_end,
        )

    # -- speaking -----------------------------------------------------------------------------

    def client_says(self, data: bytes) -> Self:
        """Deliver one segment from the client."""
        return self._deliver("from_client", data)

    def server_says(self, data: bytes) -> Self:
        """Deliver one segment from the server."""
        return self._deliver("from_server", data)

    def client_closes(self) -> Self:
        """Deliver the client's FIN."""
        return self._deliver("client_closed")

    def server_closes(self) -> Self:
        """Deliver the server's FIN."""
        return self._deliver("server_closed")

    def time_passes(self, seconds: float) -> Self:
        """Move the clock."""
        self.world.pass_time(self.gateway, seconds)
        return self

    # -- hearing ------------------------------------------------------------------------------

    def client_hears(self, expected: bytes) -> Self:
        """Check and consume exactly `expected` at the client."""
        return self._hear(self.client_end, expected, "client")

    def server_hears(self, expected: bytes) -> Self:
        """Check and consume exactly `expected` at the server."""
        return self._hear(self.server_end, expected, "server")

    def nothing_more(self) -> Self:
        """Check that neither end heard anything that was not checked."""
        assert not self.client_end.heard, f"client also heard {bytes(self.client_end.heard)!r}"
        assert not self.server_end.heard, f"server also heard {bytes(self.server_end.heard)!r}"
        return self

    def ended(self, reason: str) -> Self:
        """Check that the connection has ended, for this reason."""
        assert not self.connection.is_open, "the connection is still open"
        reasons = self.world.journal.reasons("connect.closed")
        assert reasons[-1:] == [reason], f"ended because of {reasons}"
        return self

    def still_open(self) -> Self:
        """Check that the connection goes on."""
        assert self.connection.is_open, self.world.journal.records[-3:]
        return self

    # -- pinholes -----------------------------------------------------------------------------

    def pinholes(self, *expected: str) -> Self:
        """Check the open pinholes, each as `LISTEN -> TARGET from SOURCES`."""
        found = sorted(
            f"{pinhole.listen} -> {pinhole.target} from {pinhole.sources}"
            for pinhole in self.data_path.pinholes.values()
        )
        assert found == sorted(expected), f"open: {found}"
        return self

    def refused_because(self, reason: str) -> Self:
        """Check the reason code of the latest refused bind."""
        reasons = self.world.journal.reasons("binding.refused")
        assert reasons[-1:] == [reason], f"refused because of {reasons}"
        return self

    def next_bind_fails(self, failure: BindError | Exception) -> Self:
        """Have the data path refuse the next pinhole."""
        self.data_path.fail_next = failure
        return self

    # -- inside -------------------------------------------------------------------------------

    def _deliver(self, method: str, *arguments: Any) -> Self:  # noqa: ANN401 - passed on
        if self.connection.is_open:
            data_filter = self.connection.data_filter
            assert data_filter is not None
            self._strand.run(getattr(data_filter, method)(*arguments))
        return self

    def _hear(self, end: _End, expected: bytes, who: str) -> Self:
        heard = bytes(end.heard)
        assert heard == expected, f"{who} heard {heard!r}, not {expected!r}"
        end.heard.clear()
        return self
