"""Whether a packet came to a pinhole that closes unused, and what became of it.

Each element where peers are looked up counts the flows that it let by, and the base table notes at
which ports strangers were dropped. Both are read only when a pinhole closes that no flow has used,
by one message with two questions.

Of a peer that came in and has no flow, either the client did not answer, or other rules dropped it
behind ours. Only the first has an entry in conntrack, or had one that we were told of. To look for
it is to read all of conntrack, so no more than a share of the time is spent on that.
"""

import time
from collections.abc import Callable
from itertools import count

from sallyport import limits
from sallyport.core.pinholes.datapath import Missed
from sallyport.errors import KernelError, ProtocolError
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
        try:
            let_by, strangers = self._look(installed)
            if any(state.octets for state in let_by):
                return self._whereabouts(installed)
        except (KernelError, ProtocolError, OSError):
            return None
        for state in strangers:
            left = state.milliseconds_left or 0
            if limits.KNOCKED_SECONDS - left / 1000 < seconds + _TICK_SECONDS:
                return Missed.STRANGER_CAME
        return Missed.NOTHING_CAME

    def _look(self, installed: InstalledPinhole) -> tuple[list[ElementState], list[ElementState]]:
        """Return the states of where its peers are looked up, and of where strangers are noted."""
        listen = installed.pinhole.listen
        note = listen.address.packed + nftset.service_key(installed.pinhole.transport, listen.port)
        name, doors = installed_pinhole.doors(installed)
        noted = f"knocked{listen.version}"
        first, second = next(self._sequences), next(self._sequences)
        questions = nftset.question(BASE_TABLE, noted, [note], second)
        if doors:
            questions = nftset.question(self._table, name, doors, first) + questions
        self._socket.send(questions)
        # The kernel answers them in their order.
        return self._answer(first, name, len(doors)), self._answer(second, noted, 1)

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

    def _answer(self, sequence: int, name: str, count: int) -> list[ElementState]:
        """Read the states of `count` elements of a set, up to the first that is not there."""
        states: list[ElementState] = []
        while len(states) < count:
            for answer in netlink.messages(self._socket.recv(netlink_socket.RECEIVE_SIZE)):
                if answer.sequence != sequence:
                    continue
                refused = answer.errno
                if refused == netlink_socket.ENOENT:
                    return states
                if refused:
                    raise KernelError(f"read elements of {name}", refused)
                if (state := nftset.read_state(answer)) is not None:
                    states.append(state)
        return states
