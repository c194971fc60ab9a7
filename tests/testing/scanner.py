"""A filter that looks into transfers, right and wrong."""

from sallyport.api import (
    AcceptedConnection,
    ApplicationFilter,
    DataFilter,
    Event,
    Hooks,
    Scope,
    Session,
    SessionFilter,
)
from sallyport.testing import (
    Conversation,
    client_says,
    peer_connects,
    peer_finishes,
    peer_is_sent,
    peer_sends,
)

CARRIED = Conversation(
    "a transfer",
    [
        client_says(b"OPEN 5000\n", asks=True, binds=1),
        peer_connects(),
        peer_sends(b"data", passes=True),
        peer_is_sent(b"thanks", passes=True),
        peer_finishes(),
    ],
)


class Passes(DataFilter):
    """Looks, and changes nothing."""


class Scanner(ApplicationFilter):
    name = "scanner"
    api_version = 1
    hooks = Hooks.of(AcceptedConnection, scope=Scope.SECONDARY | Scope.ANY_PROTOCOL)

    def __init__(self, kind: type[DataFilter] = Passes) -> None:
        self.kind = kind

    def attach_to_session(self, session: Session) -> SessionFilter:
        return ScannerSession(self.kind)


class ScannerSession(SessionFilter):
    def __init__(self, kind: type[DataFilter]) -> None:
        self.kind = kind

    async def on_event(self, event: Event) -> None:
        if isinstance(event, AcceptedConnection):
            event.connection.attach_data_filter(self.kind())


# -- planted bugs ---------------------------------------------------------------------------------


class DropsShortSegments(DataFilter):
    async def from_server(self, data: bytes) -> None:
        if len(data) > 3:
            self.client.send(data)


class HoldsTheEndBack(DataFilter):
    async def server_closed(self) -> None:
        """Wait for more."""


class FearsLineFeeds(DataFilter):
    async def from_client(self, data: bytes) -> None:
        if b"\n" in data:
            raise ValueError("what now?")
        self.server.send(data)


class SpeaksToTheGone(DataFilter):
    def detach(self) -> None:
        self.server.send(b"so long")
