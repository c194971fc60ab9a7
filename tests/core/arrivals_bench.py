"""Filters that are asked about flows, and openings where peers arrive in user mode."""

from collections.abc import Callable
from typing import Any

from tests.core.office import (
    PEER,
    Office,
    Pause,
    WatchingFilter,
    Witness,
)

from sallyport.addresses import Endpoint
from sallyport.core.model.events import (
    AcceptedConnection,
    ConnectTcp,
    Event,
    UdpDestination,
)
from sallyport.core.model.filter import SessionFilter
from sallyport.core.model.future_connection import FutureConnection
from sallyport.core.model.hooks import Hooks, Scope
from sallyport.core.model.secondary import SecondaryConnection
from sallyport.core.model.session import Session
from sallyport.flags import Transport
from sallyport.testing.flows import MemoryFlow

SERVER = "198.51.100.9:3000"
DATA = Endpoint.parse("10.0.0.8:4711")
OTHER = PEER.with_port(4712)


class Nosy(WatchingFilter):
    """Is asked about every flow of its protocols."""

    name = "nosy"
    hooks = Hooks.of(ConnectTcp, UdpDestination, AcceptedConnection, scope=Scope.SECONDARY)


class SlowWitness(Witness):
    """Waits once before each answer, while it `is_slow`."""

    is_slow = True

    async def on_event(self, event: Event) -> None:
        if self.is_slow:
            await Pause()
        await super().on_event(event)


class SlowNosy(Nosy):
    """Takes its time about secondary connections."""

    def attach_to_session(self, session: Session) -> SessionFilter:
        witness = SlowWitness()
        witness.is_slow = False
        witness.react = self.react
        self.witnesses.append(witness)
        return witness

    def be_slow(self) -> None:
        for witness in self.witnesses:
            assert isinstance(witness, SlowWitness)
            witness.is_slow = True


def deny(event: Event) -> None:
    if isinstance(event, ConnectTcp | UdpDestination | AcceptedConnection):
        event.connection.deny()


def secondary_only(react: Callable[[Event], object]) -> Callable[[Event], object]:
    return lambda event: react(event) if event.is_secondary else None


class Arriving:
    """An office where some opening waits for a peer in user mode, for each of the three kinds."""

    def __init__(self, office: Office, kind: str, **arguments: Any) -> None:  # noqa: ANN401 - any argument of the call
        self.office = office
        self.primary = office.dial()
        self.kind = kind
        self.opening: SecondaryConnection | FutureConnection
        if kind == "future":
            self.opening = office.allow(self.primary, SERVER, **arguments)
        else:
            transport = Transport[kind.upper()]
            binding = office.bind(self.primary, transport=transport, **arguments)
            (self.opening,) = binding.connections
        self.peer = DATA if kind == "future" else PEER
        self.listen = self.opening.pinhole.listen

    def arrive(self, peer: Endpoint | None = None) -> Endpoint | None:
        """Let a peer come; give where it got to."""
        path = self.office.user_path
        come = path.send if self.kind == "udp" else path.connect
        return come(peer or self.peer, self.listen)

    def flow(self) -> MemoryFlow:
        return self.office.user_path.filtered[self.opening.pinhole.id, self.peer]


KINDS = ["tcp", "udp", "future"]
RAISED: dict[str, type[Event]] = {
    "tcp": AcceptedConnection,
    "udp": UdpDestination,
    "future": ConnectTcp,
}
