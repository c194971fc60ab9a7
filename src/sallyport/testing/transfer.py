"""Transfer: a secondary connection with data filters, as a test reads it.

Dialogue(FtpFilter(), others=[scanner])
    …
    .transfer("203.0.113.9:20", "203.0.113.1:40271")
    .peer_says(b"data").client_hears(b"data")
    .peer_closes().client_hears_end().client_closes().ended()
"""

from collections.abc import Callable
from typing import Self

from sallyport.flags import Transport
from sallyport.testing.flows import MemoryEnd, MemoryFlow


class Transfer:
    """One flow in user mode; every method returns the transfer, and checks as `Dialogue` does.

    `client` is the protected host and `peer` the far end, whichever of the two connected. For UDP
    each argument is one datagram.
    """

    def __init__(
        self, flow: MemoryFlow, *, is_client_dialled: bool, latest: Callable[[], str]
    ) -> None:
        self.flow = flow
        self._latest = latest
        self._is_udp = flow.pinhole.transport is Transport.UDP
        came, dialled = (
            (flow.accepted, flow.peer_says, flow.peer_closes),
            (flow.dialled, flow.target_says, flow.target_closes),
        )
        (
            (self.client_end, self._client_says, self._client_closes),
            (
                self.peer_end,
                self._peer_says,
                self._peer_closes,
            ),
        ) = (dialled, came) if is_client_dialled else (came, dialled)
        self._closed: set[str] = set()

    # -- speaking -----------------------------------------------------------------------------

    def client_says(self, *segments: bytes) -> Self:
        """Deliver segments of the client, one after another."""
        return self._say("client", self._client_says, segments)

    def peer_says(self, *segments: bytes) -> Self:
        """Deliver segments of the peer, one after another."""
        return self._say("peer", self._peer_says, segments)

    def client_closes(self) -> Self:
        """Deliver the client's FIN."""
        return self._close("client", self._client_closes)

    def peer_closes(self) -> Self:
        """Deliver the peer's FIN."""
        return self._close("peer", self._peer_closes)

    def resets(self) -> Self:
        """Deliver a RST of one end; the other end receives one too."""
        self.flow.abort()
        return self

    # -- hearing ------------------------------------------------------------------------------

    def client_hears(self, *expected: bytes) -> Self:
        """Check and consume exactly these bytes, or these datagrams, at the client."""
        return self._hear("client", self.client_end, expected)

    def peer_hears(self, *expected: bytes) -> Self:
        """Check and consume exactly these bytes, or these datagrams, at the peer."""
        return self._hear("peer", self.peer_end, expected)

    def client_hears_end(self) -> Self:
        """Check that the peer's FIN was passed on, or a filter's own."""
        assert self.client_end.is_shut, f"the client's stream has not ended; {self._latest()}"
        return self

    def peer_hears_end(self) -> Self:
        """Check that the client's FIN was passed on, or a filter's own."""
        assert self.peer_end.is_shut, f"the peer's stream has not ended; {self._latest()}"
        return self

    def nothing_more(self) -> Self:
        """Check that neither end received anything that was not checked."""
        return self.client_hears().peer_hears()

    def still_open(self) -> Self:
        """Check that the transfer goes on."""
        assert not self.flow.is_over, f"the transfer has ended; {self._latest()}"
        return self

    def ended(self) -> Self:
        """Check that the transfer was closed after all data was sent."""
        return self._over(is_reset=False)

    def was_reset(self) -> Self:
        """Check that both ends were reset."""
        return self._over(is_reset=True)

    # -- inside -------------------------------------------------------------------------------

    def _say(self, who: str, say: Callable[[bytes], None], segments: tuple[bytes, ...]) -> Self:
        assert who not in self._closed, f"the {who} has closed; it can say no more"
        for segment in segments:
            say(segment)
        return self

    def _close(self, who: str, close: Callable[[], None]) -> Self:
        self._closed.add(who)
        close()
        return self

    def _hear(self, who: str, end: MemoryEnd, expected: tuple[bytes, ...]) -> Self:
        heard, wanted = (
            (tuple(end.datagrams), expected)
            if self._is_udp
            else (bytes(end.heard), b"".join(expected))
        )
        assert heard == wanted, f"{who} heard {heard!r}, not {wanted!r}; {self._latest()}"
        end.take()
        return self

    def _over(self, *, is_reset: bool) -> Self:
        how = "open" if not self.flow.is_over else "reset" if self.flow.is_reset else "closed"
        wanted = "reset" if is_reset else "closed"
        assert how == wanted, f"it is {how}; {self._latest()}"
        return self
