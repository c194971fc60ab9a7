"""One telephone: what all its conversations, over whichever transport, share."""

from collections.abc import Callable
from dataclasses import replace

from sallyport import api, limits
from sallyport.filters.sip.calls import SipCall
from sallyport.filters.sip.far_host import FarHost
from sallyport.filters.sip.flows import SipFlow
from sallyport.filters.sip.names import Place, SipNames, SipPlaces, places_in
from sallyport.filters.sip.ports import SignallingPort
from sallyport.filters.sip.settings import SipSettings
from sallyport.wire.messages import TextMessage
from sallyport.wire.sip.messages import MessageNames

# Whose Contact is called later, by other connections (RFC 3261, 3311, 3515, 6665).
_REACHED_LATER = frozenset({b"REGISTER", b"INVITE", b"UPDATE", b"SUBSCRIBE", b"REFER"})


class SipTelephone:
    """The calls, names and far hosts of one protected host: a telephone, or a PBX."""

    def __init__(
        self,
        session: api.Session,
        session_filter: api.SessionFilter,
        make_dialogue: Callable[[SipSettings], api.DataFilter],
    ) -> None:
        """`make_dialogue` returns what reads a connection that comes to a port of the telephone."""
        self._session = session
        self._session_filter = session_filter
        self._make_dialogue = make_dialogue
        self._calls: dict[bytes, SipCall] = {}
        self._hosts: dict[api.IpAddress, FarHost] = {}
        self.names = SipNames()

    # -- calls --------------------------------------------------------------------------------

    def call(self, call_id: bytes) -> SipCall | None:
        """Return the call of this Call-ID; None when there is none, or none any more."""
        call = self._calls.get(call_id)
        if call is not None and call.bundle.is_over:
            del self._calls[call_id]
            return None
        return call

    def begin_call(self, flow: SipFlow, call_id: bytes, own_tag: bytes, *, is_own: bool) -> SipCall:
        """Return a new call; raises QuotaExceeded when there are too many with its far host."""
        far = flow.far.address
        if len(self.calls_with(far)) >= limits.MAX_SIP_CALLS:
            raise api.QuotaExceeded("too-many-calls")
        bundle = self._session.bundle(flow.primary, self._session_filter)
        call = SipCall(bundle, self._session_filter, far, own_tag, is_own)
        call.begin_to_watch()
        self._calls[call_id] = call
        return call

    def end_call(self, call_id: bytes, reason: str) -> None:
        """End a call, if there is one."""
        call = self._calls.pop(call_id, None)
        if call is not None:
            call.bundle.end(reason)

    def conversation_is_over(self, primary: api.PrimaryConnection) -> None:
        """End the calls that were begun for a conversation."""
        for call_id, call in tuple(self._calls.items()):
            if call.bundle.primary is primary:
                self.end_call(call_id, "primary-ended")

    def calls_with(self, far: api.IpAddress) -> list[SipCall]:
        """Return the calls that were begun with one host outside."""
        return [
            one for one in tuple(self._calls.values()) if one.far == far and not one.bundle.is_over
        ]

    # -- hosts outside ------------------------------------------------------------------------

    def host(self, flow: SipFlow) -> FarHost:
        """Return what is known of the host at the far end of a flow."""
        far = flow.far.address
        known = self._hosts.get(far)
        if known is None or known.bundle.is_over:
            self._hosts = {at: one for at, one in self._hosts.items() if not one.bundle.is_over}
            known = FarHost(
                self._session.bundle(flow.primary, self._session_filter),
                self._session_filter,
                lambda: self._make_dialogue(flow.settings),
                lambda: bool(self.calls_with(far)),
            )
            known.begin_to_watch()
            self._hosts[far] = known
        return known

    async def places(
        self, flow: SipFlow, message: TextMessage, names: MessageNames
    ) -> tuple[SipPlaces, tuple[SignallingPort, ...]]:
        """Return what stands for the telephone's places in a message, and the ports among them.

        A conversation over UDP is reached at the address that speaks for it, a published server
        where it is published, any other place at a port of its own. Raises BindError and
        ProtocolError.
        """
        contacts: dict[Place, api.Endpoint] = {}
        ports: list[SignallingPort] = []
        places = SipPlaces(flow.own, flow.told, flow.transport, flow.is_published)
        for place in places_in(message, places):
            transport, at = place
            is_here = at == flow.own and transport is flow.transport
            if is_here and (flow.is_published or not flow.is_stream):
                contacts[place] = flow.told
            elif names.method in _REACHED_LATER:
                port = await self.host(flow).port(flow, place)
                contacts[place] = port.told
                ports.append(port)
            else:
                contacts[place] = flow.told
        return replace(places, contacts=contacts), tuple(ports)
