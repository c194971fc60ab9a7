"""Logs the SHA-256 of every FTP transfer, beside the command that caused it.

    [filters.hash-transfers]
    path = "hash_transfers.py"

The journal then says, for each transfer in either direction:

    transfer.hashed command=RETR argument=setup.iso bytes=104857600 sha256=9f86… complete=True

A transfer whose bytes a filter reads passes through user mode; that is the price.
"""

import hashlib

from sallyport.api import (
    AcceptedConnection,
    ApplicationFilter,
    ConnectTcp,
    DataFilter,
    Event,
    Hooks,
    Priority,
    Scope,
    Session,
    SessionFilter,
)
from sallyport.filters.ftp import FTP, FTP_SERVER, FtpTransfer


class TransferHash(DataFilter):
    """Hashes what passes, whichever way it goes: FTP data flows one way at a time."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._bytes = 0
        self._is_complete = False

    async def from_client(self, data: bytes) -> None:
        """Take bytes of an upload."""
        self._count(data)
        self.server.send(data)

    async def from_server(self, data: bytes) -> None:
        """Take bytes of a download."""
        self._count(data)
        self.client.send(data)

    async def client_closed(self) -> None:
        """The client has sent everything."""
        self._is_complete = True
        self.server.shutdown()

    async def server_closed(self) -> None:
        """The server has sent everything."""
        self._is_complete = True
        self.client.shutdown()

    def detach(self) -> None:
        """The transfer is over: say what it was."""
        if not hasattr(self, "connection"):
            return  # it never came to be
        transfer, control = self.connection.context, self.connection.primary
        if isinstance(transfer, FtpTransfer) and control is not None:
            control.note(
                "transfer.hashed",
                command=transfer.command,
                argument=transfer.argument,
                bytes=self._bytes,
                sha256=self._hash.hexdigest(),
                complete=self._is_complete,
            )

    def _count(self, data: bytes) -> None:
        self._hash.update(data)
        self._bytes += len(data)


class HashSession(SessionFilter):
    """Makes every transfer of a client its hash."""

    async def on_event(self, event: Event) -> None:
        """Implement `SessionFilter.on_event`."""
        if isinstance(event, AcceptedConnection | ConnectTcp) and event.is_secondary:
            event.connection.attach_data_filter(TransferHash(), Priority.MIDDLE)


class HashTransfers(ApplicationFilter):
    """Logs the SHA-256 of every FTP transfer."""

    name = "hash-transfers"
    api_version = 1
    protocols = (FTP, FTP_SERVER)
    hooks = Hooks.of(AcceptedConnection, ConnectTcp, scope=Scope.SECONDARY)

    def attach_to_session(self, session: Session) -> SessionFilter:
        """Implement `ApplicationFilter.attach_to_session`."""
        return HashSession()
