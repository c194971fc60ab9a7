"""Whether a packet came to a pinhole that closes unused, and what became of it.

Each element where peers are looked up counts the flows that it let by, and the base table notes at
which ports strangers were dropped. Both are read only when a pinhole closes that no flow has used,
by one question each.

Of a peer that came in and has no flow, either the client did not answer, or other rules dropped it
behind ours. Only the first has an entry in conntrack, or had one that we were told of. To look for
it is to read all of conntrack, so no more than a share of the time is spent on that.
"""

import time
from collections.abc import Callable, Sequence
from itertools import count

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import Missed
from sallyport.errors import KernelError, ProtocolError
from sallyport.flags import Transport
from sallyport.kernel import installed_pinhole, marks, netlink_socket
from sallyport.kernel.base_table import BASE_TABLE
from sallyport.kernel.conntrack import ConntrackRequests
from sallyport.kernel.installed_pinhole import InstalledPinhole
from sallyport.wire import netlink, nftset
from sallyport.wire.nftset import ElementState

# The kernel counts timeouts in ticks, of a hundredth of a second at most (CONFIG_HZ): who came a
# moment ago seems to have come one tick before.
_TICK_SECONDS = 0.01


class Knocks:
    """Reads what pinholes have let by; nothing else is asked over its socket."""

    def __init__(
        self,
        table: str,
        requests: ConntrackRequests,
        clock: Callable[[], float] = time.monotonic,
        worked: Callable[[], float] = time.process_time,
    ) -> None:
        """`table` is the pins table, `worked` how long this process has; raises OSError."""
        self._table = table
        self._requests = requests
        self._clock = clock
        self._worked = worked
        self._may_look_at = clock()
        self._socket = netlink_socket.connect()
        # The kernel answers before send() returns.
        self._socket.settimeout(0)
        self._sequences = count(1)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def missed(self, installed: InstalledPinhole, seconds: float) -> Missed | None:
        """Say why no flow has used an open pinhole in the `seconds` of its life; never raises.

        None when the kernel does not say.
        """
        pinhole = installed.pinhole
        try:
            if self._has_come(installed):
                return self._whereabouts(installed)
            if self._was_stranger_at(pinhole.transport, pinhole.listen, seconds):
                return Missed.STRANGER_CAME
        except (KernelError, ProtocolError, OSError):
            return None
        return Missed.NOTHING_CAME

    def _has_come(self, installed: InstalledPinhole) -> bool:
        keys: dict[str, list[nftset.Key]] = {}
        for name, key, _data in installed_pinhole.doors(installed):
            keys.setdefault(name, []).append(key)
        return any(
            state.octets
            for name, some in keys.items()
            for state in self._ask(self._table, name, some)
        )

    def _was_stranger_at(self, transport: Transport, listen: Endpoint, seconds: float) -> bool:
        key = listen.address.packed + nftset.service_key(transport, listen.port)
        for state in self._ask(BASE_TABLE, f"knocked{listen.version}", [key]):
            left = state.milliseconds_left or 0
            return limits.KNOCKED_SECONDS - left / 1000 < seconds + _TICK_SECONDS
        return False

    def _whereabouts(self, installed: InstalledPinhole) -> Missed | None:
        if installed.was_refused:
            return Missed.NOT_TAKEN
        now, began = self._clock(), self._worked()
        if now < self._may_look_at:
            return None
        number = marks.PIN | installed.generation
        found = list(self._requests.dump(number, marks.PIN | marks.GENERATION))
        self._may_look_at = now + (self._worked() - began) / limits.WHEREABOUTS_SHARE
        return Missed.NOT_TAKEN if found else Missed.DROPPED

    def _ask(self, table: str, name: str, keys: Sequence[nftset.Key]) -> list[ElementState]:
        """Return the states of these elements, up to the first that is not there."""
        sequence = next(self._sequences)
        self._socket.send(nftset.question(table, name, keys, sequence))
        states: list[ElementState] = []
        while len(states) < len(keys):
            for answer in netlink.messages(self._socket.recv(netlink_socket.RECEIVE_SIZE)):
                if answer.sequence != sequence:
                    continue
                if answer.errno == netlink_socket.ENOENT:
                    return states
                if answer.errno:
                    raise KernelError(f"read elements of {name}", answer.errno)
                if (state := nftset.read_state(answer)) is not None:
                    states.append(state)
        return states
