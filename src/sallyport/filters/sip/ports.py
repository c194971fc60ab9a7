"""Ports of the gateway at which the telephone is called, by who speaks of no connection it has."""

from collections.abc import Callable
from dataclasses import dataclass, field

from sallyport import api
from sallyport.filters.sip.registrations import Registrations


@dataclass(slots=True)
class SignallingPort:
    """A port that leads one host outside to a place where the telephone is reached.

    What arrives there is read as any conversation of the telephone is. It opens when that host has
    accepted a request that names it, and closes when no registration and no call needs it.
    """

    binding: api.Binding
    registrations: Registrations = field(default_factory=Registrations)
    """What still needs it, for how long."""

    @property
    def is_closed(self) -> bool:
        """Whether it is gone: its rule has ended it, or an operator."""
        return self.binding.state is api.State.CLOSED

    @property
    def told(self) -> api.Endpoint:
        """Where the host outside finds it."""
        return self.binding.proxy_address

    async def open(self) -> None:
        """Let the host in; raises BindError."""
        if self.binding.state is api.State.RESERVED:
            await self.binding.arm()


async def reserve_port(
    own: api.Endpoint,
    far: api.IpAddress,
    transport: api.Transport,
    *,
    primary: api.PrimaryConnection,
    session_filter: api.SessionFilter,
    bundle: api.Bundle,
    make_data_filter: Callable[[], api.DataFilter],
) -> SignallingPort:
    """Reserve a port at which one host outside reaches `own`; raises BindError."""
    flags = api.BindFlags.ALLOW_MULTIPLE
    if transport is api.Transport.UDP:
        flags |= api.BindFlags.BIDIRECTIONAL
    binding = await primary.session.bind_for_client(
        [own],
        transport=transport,
        protocol=primary.protocol,
        flags=flags,
        session_filter=session_filter,
        ip_filter=api.IpFilter.of(far),
        primary=primary,
        bundle=bundle,
        make_data_filter=make_data_filter,
        armed=False,
    )
    return SignallingPort(binding)
