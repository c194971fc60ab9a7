"""An office in which a filter takes the place of whoever would connect."""

from typing import Any

from tests.core.emulators import HookedFilter, Player, TakingFilter
from tests.core.office import EXTERNAL, PEER, Office, Witness, run

from sallyport.addresses import Endpoint
from sallyport.core.model.binding import Binding
from sallyport.core.model.events import Event
from sallyport.core.model.filter import DataFilter
from sallyport.core.model.secondary import SecondaryConnection
from sallyport.testing.flows import MemoryFlow

OTHER = PEER.with_port(4711)
NAME = Endpoint(EXTERNAL, 45000)
ZERO = Endpoint.parse("0.0.0.0:0")


class EmulatingOffice(Office):
    """An office in which every bind is taken over."""

    def __init__(self, *others: HookedFilter, **fields: Any) -> None:  # noqa: ANN401 - fields of AccessRule
        self.taking = TakingFilter()
        super().__init__(self.taking, *others, **fields)
        self.caller = Witness()

    def take(self, *clients: Endpoint, inside: str = "10.0.0.8", **arguments: Any) -> Binding:  # noqa: ANN401 - of bind_for_client
        """Bind, as the client at `inside`; ours is the last connection that was taken over."""
        outside = "198.51.100.9:21" if "." in inside else "[2001:db8::9]:21"
        client = f"{inside}:50000" if "." in inside else f"[{inside}]:50000"
        return self.bind(
            self.dial(client, outside),
            *clients,
            **({"session_filter": self.caller, "context": "the bind"} | arguments),
        )

    def flow(self, binding: Binding, peer: Endpoint = PEER) -> MemoryFlow:
        return self.user_path.filtered[binding.connections[0].pinhole.id, peer]


def deliver(
    connection: SecondaryConnection,
    player: DataFilter | None = None,
    peer: Endpoint = PEER,
    local: Endpoint | None = None,
    context: object = None,
) -> DataFilter:
    player = player or Player(b"hello")
    run(connection.emulate_connection(player, peer, local, context))
    return player


def denying(event: Event) -> None:
    event.connection.deny()
