"""What a peer said first through a timed pinhole of UDP: a copy that the pins table makes.

No byte of a flow passes through the gateway. But what two hosts agree on in their first datagram,
such as the length of a block, says later whether a transfer is over, which its counters alone do
not. The packet log costs one message a flow; of other flows, and later datagrams, it hears nothing.
"""

from contextlib import suppress
from itertools import islice
from typing import Final, Self

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.errors import KernelError, ProtocolError
from sallyport.kernel.packet_log import PacketLog
from sallyport.wire import nflog

# The groups of the workers begin here, one for each series of numbers (marks.SERIES).
_FIRST_GROUP: Final = 0x5A20

# Of IP without options, or IPv6, and of UDP.
_HEADERS: Final = 40 + 8

COPIED_BYTES: Final = _HEADERS + limits.MAX_FIRST_DATAGRAM
"""How much of a packet is copied."""


def group_of(series: int) -> int:
    """Return the group of the packet log that the pins table of a series writes to."""
    return _FIRST_GROUP + series


class FirstDatagrams(PacketLog):
    """The copies of one worker's flows."""

    def __init__(self, series: int) -> None:
        """Ask the kernel for them; raises KernelError as `PacketLog`."""
        super().__init__(group_of(series), COPIED_BYTES)
        self._held: dict[tuple[Endpoint, Endpoint], bytes] = {}

    @classmethod
    def of_host(cls, series: int) -> Self | None:
        """Ask for them; None where there is no packet log, or another program has our group.

        Then of no flow it is known what was said first, and all else works.
        """
        try:
            return cls(series)
        except KernelError:
            return None

    def take(self, source: Endpoint, destination: Endpoint) -> bytes:
        """Return what `source` said first to `destination`; empty when that was lost.

        Never raises. The kernel copies a datagram before it reports its flow.
        """
        with suppress(OSError, ProtocolError):  # without a copy it is as if none had been made
            # In a flood they may come as fast as they are read.
            for message in islice(self.messages(), limits.MAX_FIRST_DATAGRAMS):
                self._hold(nflog.read_datagram(message))
        return self._held.pop((source, destination), b"")

    def _hold(self, copied: nflog.CopiedDatagram | None) -> None:
        if copied is None:
            return
        self._held[copied.source, copied.destination] = copied.data[: limits.MAX_FIRST_DATAGRAM]
        if len(self._held) > limits.MAX_FIRST_DATAGRAMS:
            del self._held[next(iter(self._held))]
