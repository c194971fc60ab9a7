"""Conversations with conntrack: requests about single flows, and the stream of events."""

import errno
import socket
from collections.abc import Callable, Iterator
from typing import TypeVar

from sallyport.errors import KernelError
from sallyport.io.sockets import attach_program
from sallyport.kernel import marks, netlink_socket
from sallyport.wire import conntrack, netlink
from sallyport.wire.conntrack import FlowReport

_SO_RCVBUFFORCE = 33

_Flow = TypeVar("_Flow")

# NFNLGRP_CONNTRACK_NEW, _UPDATE and _DESTROY. A UDP flow is admitted with its first packet; what
# is new and not won, a flood of SYNs for instance, the filter in the socket drops.
_EVENT_GROUPS = (1, 2, 3)

# An event of 200 bytes occupies about 800 of a socket's buffer: room for 40 000, half a second of
# the fastest burst measured. Without CAP_NET_ADMIN over the host, net.core.rmem_max caps it.
_EVENT_BUFFER_BYTES = 32 * 1024 * 1024


class ConntrackRequests:
    """Questions and orders about single conntrack entries; each takes about 10 microseconds."""

    def __init__(self) -> None:
        self._socket = netlink_socket.connect()
        # The kernel answers before send() returns; a missing answer must not stop the daemon.
        self._socket.settimeout(0)
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def counters(self, original: bytes) -> tuple[int, int] | None:
        """Read the bytes of one flow each way; None when it is gone."""
        answer = self._ask(conntrack.get_request(original, self._next()))
        return None if answer is None else conntrack.read_counters(answer)

    def seconds_left(self, original: bytes) -> int | None:
        """Read how long one flow stays if no packet comes; None when it is gone."""
        answer = self._ask(conntrack.get_request(original, self._next()))
        return None if answer is None else conntrack.read_seconds_left(answer) or 0

    def reply_of(self, original: bytes) -> tuple[bytes, int] | None:
        """Read the other direction of one flow, and for how many seconds it stays without a packet.

        None when there is no such flow.
        """
        answer = self._ask(conntrack.get_request(original, self._next()))
        report = None if answer is None else conntrack.read_report(answer)
        if answer is None or report is None:
            return None
        return report.reply, conntrack.read_seconds_left(answer) or 0

    def original_of(self, reply: bytes) -> bytes | None:
        """Read the direction in which a flow was opened; None when there is no such flow."""
        answer = self._ask(conntrack.get_request(reply, self._next()))
        report = None if answer is None else conntrack.read_report(answer)
        return None if report is None else report.original

    def conclude(self, original: bytes, bits: int) -> tuple[int, int] | None:
        """Set bits in a flow's mark and read its bytes each way, at once; None when it is gone."""
        order = conntrack.mark_request(original, bits, bits, self._next(), is_acknowledged=False)
        answer = self._ask(order + conntrack.get_request(original, self._next()))
        return None if answer is None else conntrack.read_counters(answer)

    def set_bits(self, original: bytes, bits: int, mask: int | None = None) -> bool:
        """Set the `mask` bits of a flow's mark to `bits`; None: those that `bits` has.

        False when the flow is gone.
        """
        mask = bits if mask is None else mask
        return self._ask(conntrack.mark_request(original, bits, mask, self._next())) is not None

    def delete(self, original: bytes) -> bool:
        """Forget a flow; False when it is gone already."""
        return self._ask(conntrack.delete_request(original, self._next())) is not None

    def dump(self, bits: int, mask: int) -> Iterator[FlowReport]:
        """Read every flow whose mark has `bits` under `mask`; raises KernelError."""
        return self.dump_as(bits, mask, conntrack.read_report)

    def dump_as(
        self, bits: int, mask: int, read: Callable[[bytes, int], _Flow | None]
    ) -> Iterator[_Flow]:
        """Do the same, and `read` what is wanted of each flow where its report starts."""
        self._socket.send(conntrack.dump_request(bits, mask, self._next()))
        while True:
            data = self._receive("list flows")
            at = 0
            for answer in netlink.messages(data):
                if answer.kind == netlink.TYPE_DONE:
                    return
                if answer.errno:
                    raise KernelError("list flows", answer.errno)
                flow = read(data, at)
                if flow is not None:
                    yield flow
                size = netlink.HEADER_SIZE + len(answer.payload)
                at += size + (-size & 3)

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def _ask(self, request: bytes) -> bytes | None:
        """Return the answer to the last request, None for ENOENT; other refusals are KernelErrors.

        Answers to what was asked before are passed over: their time is over.
        """
        self._socket.send(request)
        answer = self._receive("ask conntrack")
        while netlink.sequence_of(answer) != self._sequence:
            answer = self._receive("ask conntrack")
        refused = netlink.verdict(answer, self._sequence)
        if refused == errno.ENOENT:
            return None
        if refused:
            raise KernelError("ask conntrack", refused)
        return answer

    def _receive(self, operation: str) -> bytes:
        try:
            return self._socket.recv(netlink_socket.RECEIVE_SIZE)
        except OSError as error:
            raise KernelError(operation, error.errno or 0, "no answer") from error


class EventSocket:
    """Events of our flows, already sifted by the kernel; never blocks."""

    def __init__(self, series: int) -> None:
        """Listen to flows of the pinholes that are numbered in this series (marks.SERIES)."""
        self._socket = netlink_socket.connect()
        self._socket.settimeout(0)
        self._attach_filter(marks.series_bits(series))
        self._widen()
        # With this a DESTROY that does not fit is kept and sent again instead of lost.
        self._socket.setsockopt(
            netlink_socket.SOL_NETLINK, netlink_socket.NETLINK_BROADCAST_ERROR, 1
        )
        for group in _EVENT_GROUPS:
            self._socket.setsockopt(
                netlink_socket.SOL_NETLINK, netlink_socket.NETLINK_ADD_MEMBERSHIP, group
            )

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def receive(self) -> FlowReport | None:
        """Read the next event.

        Raises BlockingIOError when there is none, and OSError with ENOBUFS once after events were
        lost. None is a message that is not about a flow of ours.
        """
        return conntrack.read_report(self._socket.recv(_EVENT_SIZE))

    def _attach_filter(self, series: int) -> None:
        program = conntrack.event_filter(
            marks.PIN, marks.WON, marks.ENDS, marks.TOLD, marks.GENERATION, (marks.SERIES, series)
        )
        attach_program(self._socket, netlink_socket.SO_ATTACH_FILTER, program)

    def _widen(self) -> None:
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _EVENT_BUFFER_BYTES)
        except PermissionError:
            # In a user namespace the host's limit holds; an overrun is mended by a dump.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _EVENT_BUFFER_BYTES)


# One event is one datagram, and with every extension of conntrack it stays below 1 KiB.
_EVENT_SIZE = 4096
