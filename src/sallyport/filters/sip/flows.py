"""One flow of SIP as the filter sees it: who is at its two ends, and what each calls the other."""

from dataclasses import dataclass

from sallyport import api
from sallyport.filters.sip.settings import SipSettings


@dataclass(frozen=True, slots=True)
class SipFlow:
    """A conversation by datagrams, a control connection, or what came to a signalling port.

    "Own" is the telephone, the host that is protected: a server's clients are outside when it is
    published. "Far" is the host outside.
    """

    connection: api.PrimaryConnection | api.SecondaryConnection
    primary: api.PrimaryConnection
    """By which the rules are asked; it may be over when the flow came to a port."""
    settings: SipSettings
    own: api.Endpoint
    far: api.Endpoint
    told: api.Endpoint
    """The address of the gateway by which the far host knows the telephone here."""
    is_published: bool
    is_stream: bool

    @property
    def transport(self) -> api.Transport:
        """Its transport."""
        return self.connection.transport

    def is_outside(self, address: api.IpAddress) -> bool:
        """Whether the rules let the telephone speak to this host."""
        if address.version != self.own.version or address.is_multicast:
            return False
        access = self.primary.session.host_access_check(
            self.primary.protocol, address, check_publishing=self.is_published
        )
        return access.allowed

    def media_peers(self, said: api.IpAddress) -> frozenset[api.IpAddress]:
        """Return who may send media, of what the far side names; empty: no host (P06, P13).

        A telephone outside may stand behind a router of its own, and name an address there: its
        media come from where its signalling comes from.
        """
        if self.settings.media_peers == "signalling":
            return frozenset({self.far.address})
        named = {said} if self.is_outside(said) else set()
        return frozenset(named | {self.far.address} if self.is_published else named)


def flow_of(data_filter: api.DataFilter, settings: SipSettings) -> SipFlow:
    """Return the flow of a data filter that has started."""
    connection = data_filter.connection
    if isinstance(connection, api.PrimaryConnection):
        is_published = connection.direction is api.Direction.INBOUND
        primary, own, far = connection, connection.client, connection.server
        if is_published:
            own, far = far, own
    else:
        assert isinstance(connection, api.SecondaryConnection)  # noqa: S101 - our ports are bound
        assert connection.primary is not None  # noqa: S101
        assert connection.client_address is not None  # noqa: S101
        primary, own, far = connection.primary, connection.client_address, data_filter.peer
        is_published = primary.direction is api.Direction.INBOUND
    is_stream, told = connection.transport is api.Transport.TCP, connection.external_socket_name()
    return SipFlow(connection, primary, settings, own, far, told, is_published, is_stream)
