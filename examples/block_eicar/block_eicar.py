"""Blocks FTP transfers that contain the EICAR test string, and tells the FTP client why.

    [filters.block-eicar]
    path = "block_eicar.py"

The client hears `451 Blocked by the gateway: EICAR test string.` and never receives the whole
string: what could be its beginning is held back until the next bytes tell. A real scanner would
ask a service; where this one looks at a string, that one would await a verdict.
"""

from sallyport.api import (
    AcceptedConnection,
    ApplicationFilter,
    ConnectTcp,
    DataFilter,
    Event,
    Hooks,
    Priority,
    Scope,
    Session,
    SessionFilter,
    StreamEnd,
)
from sallyport.filters.ftp import FTP, FTP_SERVER

# Two pieces, so that scanners leave this file alone.
SIGNATURE = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + rb"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
EXPLANATION = "Blocked by the gateway: EICAR test string."


class Scanner(DataFilter):
    """Looks for the signature in a transfer, across the borders of segments."""

    def __init__(self) -> None:
        self._held = b""
        self._is_blocked = False

    async def from_client(self, data: bytes) -> None:
        """Take bytes of an upload."""
        self._scan(data, self.server)

    async def from_server(self, data: bytes) -> None:
        """Take bytes of a download."""
        self._scan(data, self.client)

    async def client_closed(self) -> None:
        """The client has sent everything: what was held back was harmless."""
        self._release(self.server)

    async def server_closed(self) -> None:
        """The server has sent everything: what was held back was harmless."""
        self._release(self.client)

    def _scan(self, data: bytes, towards: StreamEnd) -> None:
        if self._is_blocked:
            return
        data = self._held + data
        if SIGNATURE in data:
            self._is_blocked = True
            self._held = b""
            self.close(EXPLANATION)
            return
        begun = _could_begin(data)
        self._held = data[len(data) - begun :]
        towards.send(data[: len(data) - begun])

    def _release(self, towards: StreamEnd) -> None:
        held, self._held = self._held, b""
        if not self._is_blocked:
            towards.send(held)
            towards.shutdown()


def _could_begin(data: bytes) -> int:
    """Return how many of the last bytes could be the beginning of the signature."""
    for length in range(min(len(SIGNATURE) - 1, len(data)), 0, -1):
        if data.endswith(SIGNATURE[:length]):
            return length
    return 0


class ScanSession(SessionFilter):
    """Makes every transfer of a client its scanner."""

    async def on_event(self, event: Event) -> None:
        """Implement `SessionFilter.on_event`."""
        if isinstance(event, AcceptedConnection | ConnectTcp) and event.is_secondary:
            event.connection.attach_data_filter(Scanner(), Priority.MIDDLE)


class BlockEicar(ApplicationFilter):
    """Blocks FTP transfers that contain the EICAR test string."""

    name = "block-eicar"
    api_version = 1
    protocols = (FTP, FTP_SERVER)
    hooks = Hooks.of(AcceptedConnection, ConnectTcp, scope=Scope.SECONDARY)

    def attach_to_session(self, session: Session) -> SessionFilter:
        """Implement `ApplicationFilter.attach_to_session`."""
        return ScanSession()
