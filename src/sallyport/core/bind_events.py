"""A bind as other filters see it: those who asked are told of each, and may deny it.

The caller's own session filter is not told: it knows. While they may deny, a filter that fails has
denied: fail closed.
"""

from typing import TYPE_CHECKING

from sallyport.core.events import BindTcp, BindUdp, Listen
from sallyport.errors import AddressInUse
from sallyport.flags import Transport

if TYPE_CHECKING:
    from sallyport.core.binding import Binding
    from sallyport.core.gateway import Gateway


async def ask_filters(gateway: "Gateway", binding: "Binding") -> None:
    """Tell of a bind that is about to open, and, for TCP, that it listens.

    Raises AddressInUse when a filter denies: the SDK's code for it (WSAEADDRINUSE).
    """
    is_tcp = binding.transport is Transport.TCP
    binding.is_deniable = True
    await _tell(gateway, binding, BindTcp if is_tcp else BindUdp)
    binding.is_deniable = False
    if is_tcp:
        await _tell(gateway, binding, Listen)


async def _tell(
    gateway: "Gateway", binding: "Binding", event: type[BindTcp] | type[BindUdp] | type[Listen]
) -> None:
    for application_filter in gateway.filters:
        if not application_filter.watches_binds:
            continue
        try:
            session_filter = gateway.session_filter_of(binding.session, application_filter)
            if session_filter is binding.session_filter:
                continue
            for connection in binding.connections:
                await session_filter.on_event(event(connection))
        except Exception as error:  # noqa: BLE001 - a fence: whatever a filter raises stays here
            gateway.note_failure(binding.session, error)
            binding.is_denied = binding.is_deniable
        if binding.is_denied:
            gateway.ledger.denied(binding, application_filter.name)
            raise AddressInUse("denied-by-filter")
