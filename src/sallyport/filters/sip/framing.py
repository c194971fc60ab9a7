"""How messages are cut out of datagrams and streams, for one direction of a flow."""

from sallyport import api, limits
from sallyport.wire.messages import TextMessage
from sallyport.wire.sip.messages import (
    is_keep_alive,
    is_sip,
    read_datagram,
    require_sip,
    sip_reader,
)


class SipFraming:
    """Takes what comes, and returns messages, and bytes that pass as they are."""

    def __init__(self, *, is_stream: bool, is_port: bool) -> None:
        """`is_port`: it came to a port of ours, where nothing but SIP passes."""
        self._is_port = is_port
        self._stream = sip_reader() if is_stream else None
        self._datagram: bytes | None = None
        self.unread = b""
        """What could not be read, from its first byte on."""

    def opening(self) -> api.FirstBytes:
        """Return what the stream that was fed so far begins as; a datagram is always ours."""
        if self._stream is None:
            return api.FirstBytes.OURS
        return api.foreign_protocol(self._stream.pending, limits.MAX_SIP_HEAD)

    def feed(self, data: bytes) -> None:
        """Add a datagram, or the next bytes of the stream."""
        if self._stream is None:
            self._datagram = data
        else:
            self._stream.feed(data)

    def take(self) -> TextMessage | bytes | None:
        """Return what comes next; None when it is not there yet. Raises ProtocolError."""
        if self._stream is None:
            return self._take_datagram()
        self.unread = self._stream.pending
        one = self._stream.take()
        if isinstance(one, TextMessage):
            require_sip(one)
        return one

    def take_rest(self) -> bytes:
        """Return everything that was fed and not taken."""
        return b"" if self._stream is None else self._stream.take_rest()

    def _take_datagram(self) -> TextMessage | bytes | None:
        data, self._datagram = self._datagram, None
        if data is None:
            return None
        self.unread = data
        if is_sip(data):
            return read_datagram(data)
        if self._is_port and not is_keep_alive(data):
            raise api.ProtocolError("not-sip", data)
        return data
