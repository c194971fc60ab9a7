"""The ports of one stream, and the streams of one RTSP session: how they open and how they end."""

from dataclasses import dataclass, field
from typing import Literal

from sallyport import api, limits
from sallyport.filters.rtsp.offers import MediaOffer
from sallyport.filters.rtsp.settings import RtspSettings
from sallyport.wire.rtsp import TransportSpec


class MediaOpenings:
    """Opens the ports of one control connection: for the client, or for a published server."""

    def __init__(
        self,
        connection: api.PrimaryConnection,
        session_filter: api.SessionFilter,
        settings: RtspSettings,
    ) -> None:
        self.connection = connection
        self._session_filter = session_filter
        self._other_sources = api.IpFilter.of(*settings.media_sources)
        self.is_published = connection.protocol.direction is api.Direction.INBOUND
        """Whether the server is ours to protect, and not the client."""
        # A peer is known by its address and not by its port: media may come from a port that was
        # not named, and a single place would be taken by the first forged datagram.
        self._flags = api.BindFlags.BIDIRECTIONAL | api.BindFlags.ALLOW_MULTIPLE
        if api.ConnectionFlags.INTERNAL_ADDRESS_TRANSLATION in connection.flags:
            self._flags |= api.BindFlags.PROXY_MODE  # full proxy is inherited, never chosen

    async def bind(self, ports: tuple[int, ...], *, armed: bool) -> api.Binding:
        """Bind gateway ports for these ports of the protected host; raises BindError.

        The host at the far end of the control connection reaches them, and no other.
        """
        inside = self.connection.server if self.is_published else self.connection.client
        return await self.connection.session.bind_for_client(
            [api.Endpoint(inside.address, port) for port in ports],
            transport=api.Transport.UDP,
            protocol=self.connection.protocol,
            flags=self._flags,
            session_filter=self._session_filter,
            ip_filter=api.IpFilter.of(self.connection.peer.address),
            primary=self.connection,
            close_with_primary="kill",
            armed=armed,
        )

    async def arm(self, binding: api.Binding, answer: TransportSpec) -> None:
        """Open the ports of an offer to the host that the answer says media comes from.

        Raises PolicyDenied `media-from-another-host` for one that neither is the server nor is
        listed (attack R05), ProtocolError `bad-rtsp-address`, and what `Binding.arm` raises.
        """
        server = self.connection.server.address
        said = [answer.address(b"source"), *(one.host for one in answer.addresses(b"src_addr"))]
        sources = {address for address in said if address is not None} or {server}
        if any(one != server and one not in self._other_sources for one in sources):
            raise api.PolicyDenied("media-from-another-host")
        if sources != {server}:
            await binding.set_peers(api.IpFilter.of(*sources))
        await binding.arm()


@dataclass(slots=True)
class SetupExchange:
    """A request that waits for its answer: SETUP with what it offers, or TEARDOWN."""

    method: Literal["SETUP", "TEARDOWN"]
    target: bytes
    """The URL that it is about."""
    session: bytes
    """The RTSP session that it names; empty when it begins one."""
    offers: list[tuple[MediaOffer, api.Binding]] = field(default_factory=list)
    seconds: float = 0.0
    """How long it has waited."""

    def withdraw(self, reason: str, *, but: api.Binding | None = None) -> None:
        """Release the ports of all offers, or of all but one."""
        for _, binding in self.offers:
            if binding is not but:
                binding.kill(reason)


@dataclass(slots=True)
class MediaStream:
    """One stream that was set up, and its ports."""

    target: bytes
    binding: api.Binding


@dataclass(slots=True)
class MediaSession:
    """An RTSP session: its streams end with it.

    Not a `Bundle`: SETUP binds before the answer says to which session the ports belong, TEARDOWN
    may end one stream of several, and all end with the connection in any case.
    """

    timeout: float
    """Seconds without a sign of life after which the server forgets it."""
    streams: list[MediaStream] = field(default_factory=list)
    is_over: bool = False
    """Whether it ended by silence: the server may not know that yet."""
    silent_seconds: float = 0.0
    _carried: int = 0

    def end(self, reason: str, target: bytes | None = None) -> None:
        """Close the ports of all streams at once, or of the one that `target` names.

        A URL that none of several streams was set up by names all of them (RFC 2326 section 10.7).
        """
        named = [one for one in self.streams if one.target == target] or self.streams
        for stream in named:
            stream.binding.kill(reason)
        self.streams = [one for one in self.streams if one not in named]

    def passes_time(self, seconds: float, *, is_alive: bool) -> None:
        """Note that time has passed, and end after twice the timeout without any sign of life.

        Signs are requests, and datagrams of either side: a server that goes on sending knows the
        session still, whatever it had said about its timeout.
        """
        carried = sum(
            sum(port.traffic()[1:]) for one in self.streams for port in one.binding.connections
        )
        if is_alive or carried != self._carried:
            self._carried, self.silent_seconds = carried, 0.0
            return
        self.silent_seconds += seconds
        if self.silent_seconds >= 2 * self.timeout:
            self.end("session-timed-out")
            self.is_over = True


def timeout_of(said: int | None) -> float:
    """Return the timeout of a session: RFC 2326 section 12.37 sets 60 seconds where none is said.

    More than `limits.MAX_RTSP_TIMEOUT_SECONDS` counts as that.
    """
    return min(float(said or limits.RTSP_TIMEOUT_SECONDS), limits.MAX_RTSP_TIMEOUT_SECONDS)
