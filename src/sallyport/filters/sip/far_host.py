"""What a telephone and one host outside owe each other: requests, registrations, ports."""

from collections.abc import Callable
from dataclasses import dataclass, field

from sallyport import api, limits
from sallyport.filters.sip.exchanges import SipExchanges
from sallyport.filters.sip.flows import SipFlow
from sallyport.filters.sip.names import Place
from sallyport.filters.sip.ports import SignallingPort, reserve_port

# The name of what needs a port until its request is answered, or while a call may ring.
_ASKED = b""


@dataclass(slots=True)
class FarHost:
    """A registrar, proxy or telephone outside, over all conversations with it.

    A request that is answered by another connection, as after TCP was closed, is the same request.
    """

    bundle: api.Bundle
    session_filter: api.SessionFilter
    make_data_filter: Callable[[], api.DataFilter]
    has_calls: Callable[[], bool]
    ours: SipExchanges = field(default_factory=SipExchanges)
    """Requests of the telephone."""
    theirs: SipExchanges = field(default_factory=SipExchanges)
    """Requests of the host outside."""
    _ports: dict[Place, SignallingPort] = field(default_factory=dict)

    async def port(self, flow: SipFlow, place: Place) -> SignallingPort:
        """Return the port at which this host reaches a place of the telephone; raises BindError."""
        known = self._ports.get(place)
        if known is None or known.is_closed:
            if len(self._ports) >= limits.MAX_SIP_CONTACTS:
                raise api.QuotaExceeded("too-many-contacts")
            transport, own = place
            known = await reserve_port(
                own,
                flow.far.address,
                transport,
                primary=flow.primary,
                session_filter=self.session_filter,
                bundle=self.bundle,
                make_data_filter=self.make_data_filter,
            )
            self._ports[place] = known
        known.registrations.lasts(_ASKED, limits.SIP_DEAD_CALL_SECONDS)
        return known

    def registered(self, ports: tuple[SignallingPort, ...], name: bytes, seconds: float) -> None:
        """Keep ports as long as a registration lasts; close them when nothing else needs them."""
        for port in ports:
            port.registrations.lasts(_ASKED, 0.0)
            port.registrations.lasts(name, seconds)
        self._close_unused()

    def begin_to_watch(self) -> None:
        """Look now and then what is over."""
        self.bundle.call_later(limits.SIP_LOOK_SECONDS, self._look)

    async def _look(self) -> None:
        for exchanges in (self.ours, self.theirs):
            exchanges.passes_time(limits.SIP_LOOK_SECONDS)
        for port in self._ports.values():
            port.registrations.passes_time(limits.SIP_LOOK_SECONDS)
        self._close_unused()
        if self._ports or self.ours or self.theirs:
            self.begin_to_watch()
        else:
            self.bundle.end("nothing-is-left")

    def _close_unused(self) -> None:
        if self.has_calls():
            return
        for place, port in tuple(self._ports.items()):
            if port.is_closed or not port.registrations.longest:
                del self._ports[place]
                port.binding.kill("registration-is-over")
