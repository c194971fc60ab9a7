"""What nftables holds on this host, and notice of those who change it.

Its sockets stay open. When a netfilter socket is closed, the kernel first waits until all that was
deleted before has been freed, 8 to 20 ms, and no transaction on the host passes meanwhile: a
question each quarter of a second over a socket of its own tripled the slowest transfers.
"""

from collections.abc import Iterator
from types import TracebackType

from sallyport.errors import KernelError
from sallyport.io.sockets import attach_program
from sallyport.kernel import netlink_socket
from sallyport.wire import netlink, ruleset
from sallyport.wire.ruleset import RulesetChange

# The kernel answers before send() returns, a long list in pieces; more than this is a fault.
_SECONDS = 10.0


class Ruleset:
    """Answers questions about tables; closed by `with` or `close`."""

    def __init__(self) -> None:
        """Open the socket; raises OSError."""
        self._socket = netlink_socket.connect()
        self._socket.settimeout(_SECONDS)
        self._sequence = 0

    def __enter__(self) -> "Ruleset":
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; may take 20 ms."""
        self._socket.close()

    def owner_of(self, table: str) -> int | None:
        """Return the netlink port of the process that owns a table.

        0: no process does; None: there is no such table.

        For the first netlink socket of a program the port is its process id. Raises KernelError.
        """
        found = self._ask(table, ruleset.get_table(table, self._next()), is_list=False)
        return (ruleset.table_owner(found[0]) or 0) if found else None

    def contents(self, table: str) -> bytes | None:
        """Return what the kernel holds of a table, to be compared; empty when there is none.

        None when it changed while it was read. Costs about 0.1 ms for a table of ours. Raises
        KernelError.
        """
        parts: list[bytes] = []
        for request, is_list in self._questions(table):
            payloads = self._ask(table, request, is_list=is_list)
            if payloads is None:
                return None
            parts += [ruleset.body_in(table, payload) for payload in payloads]
        return b"".join(parts)

    def _questions(self, table: str) -> Iterator[tuple[bytes, bool]]:
        """Yield what is asked about a table, one by one, and whether the answer is a list."""
        yield ruleset.get_table(table, self._next()), False
        yield ruleset.list_chains(self._next()), True
        yield ruleset.list_rules(table, self._next()), True

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def _ask(self, table: str, request: bytes, *, is_list: bool) -> list[bytes] | None:
        """Return the answers to a question; an empty list for ENOENT, None when interrupted."""
        self._socket.send(request)
        payloads: list[bytes] = []
        is_whole = True
        while True:
            for answer in netlink.messages(self._socket.recv(netlink_socket.RECEIVE_SIZE)):
                if answer.sequence != self._sequence:
                    continue  # a list that was left half read
                if answer.kind == netlink.TYPE_DONE:
                    return payloads if is_whole else None
                if answer.errno:
                    if answer.errno != netlink_socket.ENOENT:
                        raise KernelError(f"read table {table}", answer.errno)
                    return []
                is_whole = is_whole and not answer.flags & netlink.FLAG_DUMP_INTERRUPTED
                payloads.append(answer.payload)
            if payloads and not is_list:
                return payloads


class RulesetWatch:
    """The kernel's notices of transactions, but for those of our workers; never blocks."""

    def __init__(self) -> None:
        """Begin to listen; raises OSError."""
        self._socket = netlink_socket.connect()
        self._socket.settimeout(0)
        attach_program(self._socket, netlink_socket.SO_ATTACH_FILTER, ruleset.foreign_changes())
        self._socket.setsockopt(
            netlink_socket.SOL_NETLINK, netlink_socket.NETLINK_ADD_MEMBERSHIP, ruleset.GROUP
        )

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket; may take 20 ms."""
        self._socket.close()

    def drain(self) -> list[RulesetChange]:
        """Take what has been noticed since the last call; some may have been lost in a flood.

        Raises OSError.
        """
        found: list[RulesetChange] = []
        for data in netlink_socket.waiting(self._socket):
            changes = map(ruleset.read_change, netlink.messages(data or b""))
            found += [change for change in changes if change is not None]
        return found
