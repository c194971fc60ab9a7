"""What the guard drops, as samples that its rules copy to us, and how it gets into the log.

The kernel copies so many packets a second at most and lets the rest go uncounted by source: a flood
costs us no more than a scan. Each source is in the log once in a minute, so many of them at most;
the minute ends with one record that has the whole.
"""

import socket
from collections import Counter
from collections.abc import Callable
from typing import Final

from sallyport import limits
from sallyport.core.runtime.environment import Journal
from sallyport.kernel.packet_log import PacketLog
from sallyport.wire import nflog
from sallyport.wire.nflog import DroppedPacket

GROUP: Final = 0x5A11
"""The group of the kernel's packet log that our rules write to. Others count from 0 upwards."""

SAMPLED_BYTES: Final = 128
"""Enough for the headers, and for no payload to speak of."""

REASONS: Final = {
    "strangers": "no-pinhole-for-this-packet",
    "invalid": "packet-fits-no-connection",
    "spoofed": "source-address-is-forged",
}
"""Why the guard drops, by the word of its rule and counter."""

_TRANSPORTS: Final = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}


class DropWatch(PacketLog):
    """The samples of what the guard drops."""

    def __init__(self) -> None:
        """Ask the kernel for them; raises KernelError as `PacketLog`."""
        super().__init__(GROUP, SAMPLED_BYTES)

    def drain(self) -> list[DroppedPacket]:
        """Take the samples that there are. Raises OSError."""
        samples = map(nflog.read_packet, self.messages())
        return [sample for sample in samples if sample is not None]


class DropLog:
    """Decides which samples become records."""

    def __init__(self, journal: Journal, interface_name: Callable[[int], str]) -> None:
        """`interface_name` returns the name of an interface by its number."""
        self._journal = journal
        self._interface_name = interface_name
        self._sources: Counter[str] = Counter()

    def note(self, sample: DroppedPacket) -> None:
        """Take one sample: the first of a source in this minute is recorded."""
        source = str(getattr(sample.source, "address", sample.source))
        is_new = source not in self._sources
        if is_new and len(self._sources) >= limits.MAX_DROP_SOURCES:
            source = "others"
        self._sources[source] += 1
        if not is_new or len(self._sources) > limits.MAX_DROP_RECORDS or source == "others":
            return
        self._journal.record(
            "guard.dropped",
            level="info",
            reason=REASONS.get(sample.prefix, sample.prefix),
            peer=sample.source,
            to=sample.destination,
            transport=_TRANSPORTS.get(sample.protocol, str(sample.protocol)),
            interface=self._interface_name(sample.interface),
        )

    def minute_is_over(self) -> None:
        """Record the whole of what was sampled, by source, if there was more than was recorded."""
        sources, self._sources = self._sources, Counter()
        total = sources.total()
        if total > len(sources) or len(sources) > limits.MAX_DROP_RECORDS:
            most = [f"{source} {count}" for source, count in sources.most_common(_MOST)]
            self._journal.record(
                "guard.drops",
                level="info",
                sampled=total,
                sources=len(sources),
                most=most,
            )


# As many as a line of text has room for.
_MOST: Final = 5


def interface_name(number: int) -> str:
    """Return the name of an interface; its number when it has gone."""
    try:
        return socket.if_indextoname(number)
    except OSError:
        return str(number)
