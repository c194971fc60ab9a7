"""Rexec (TCP 512, rexecd(8)): lets the server send a command's standard error to the client.

A client begins with the number of a port, in decimal digits and closed by NUL; there it takes a
second connection, on which standard error comes. Nothing or 0 says that it wants none.
"""

import re

from sallyport.api import (
    ApplicationFilter,
    BindError,
    BindFlags,
    ConnectTcp,
    DataFilter,
    Event,
    IpFilter,
    PrimaryConnection,
    ProtocolDefinition,
    Session,
    SessionFilter,
    Transport,
)

REXEC = ProtocolDefinition("rexec", Transport.TCP, 512)

# 65535: more digits are no port.
_NUMBER = re.compile(rb"[0-9]{0,5}")


class RexecFilter(ApplicationFilter):
    """Standard error of remote commands (rexec)."""

    name = "rexec"
    api_version = 1
    protocols = (REXEC,)

    def attach_to_session(self, session: Session) -> SessionFilter:
        """Implement `ApplicationFilter.attach_to_session`."""
        return RexecSession(session)


class RexecSession(SessionFilter):
    """Makes every command of a client its dialogue."""

    def __init__(self, session: Session) -> None:
        self.session = session

    async def on_event(self, event: Event) -> None:
        """Implement `SessionFilter.on_event`."""
        if isinstance(event, ConnectTcp) and isinstance(event.connection, PrimaryConnection):
            event.connection.attach_data_filter(RexecDialogue(self, event.connection))


class RexecDialogue(DataFilter):
    """One command; after the port number everything passes as it comes."""

    def __init__(self, session_filter: RexecSession, primary: PrimaryConnection) -> None:
        self._session_filter = session_filter
        self._primary = primary
        self._begun = b""
        self._is_known = False

    async def from_client(self, data: bytes) -> None:
        """Take the number from the beginning, and give the server one of the gateway's."""
        if self._is_known:
            self.server.send(data)
            return
        self._begun += data
        number, nul, rest = self._begun.partition(b"\0")
        if not _NUMBER.fullmatch(number) or int(number or b"0") > 65535:
            self._refuse("not-a-port")  # a browser's request too: it begins with a letter
        elif nul:
            self._is_known = True
            try:
                told = await self._bound(int(number)) if number.strip(b"0") else number
            except BindError as refusal:
                self._refuse(refusal.reason)
            else:
                self.server.send(told + nul + rest)

    async def client_closed(self) -> None:
        """Pass on what the client began to say, then the end."""
        if not self._is_known:
            self.server.send(self._begun)
        self.server.shutdown()

    async def _bound(self, port: int) -> bytes:
        """Open a port for one connection of the server, and of no other host."""
        client, server = self._primary.client, self._primary.server
        binding = await self._session_filter.session.bind_for_client(
            [client.with_port(port)],
            transport=Transport.TCP,
            protocol=REXEC,
            flags=BindFlags.TIMEOUT,
            ip_filter=IpFilter.of(server.address),
            primary=self._primary,
        )
        return b"%d" % binding.proxy_address.port

    def _refuse(self, reason: str) -> None:
        """Say so as a server does: 1, a line of text, and the end (rexecd(8))."""
        self._primary.note("command.refused", level="warning", reason=reason)
        self.client.send(b"\x01sallyport: %s\n" % reason.encode())
        self._primary.close(reason)
