"""The interfaces of the networks, followed through their renames.

The configuration names interfaces; nft's rules compare names too. An interface that is renamed
while we run falls out of its network: nothing is opened by that, but it is out of service. So the
kernel's notifications are read, and the rules are written again with the new name.
"""

import socket
from collections.abc import Iterable

from sallyport.kernel import netlink_socket
from sallyport.wire import netlink, rtnetlink
from sallyport.wire.rtnetlink import LinkReport


class InterfaceNames:
    """Which names the configured interfaces go by now; pure.

    An interface belongs to a name from the moment it is seen under it, whatever it is called
    later. A name that nothing bears stands for itself: what appears under it belongs to it.
    """

    def __init__(self, configured: Iterable[str]) -> None:
        self._configured = frozenset(configured)
        self._owned: dict[int, str] = {}
        self._current: dict[int, str] = {}
        self._renamed: list[tuple[str, str]] = []

    def note(self, report: LinkReport) -> None:
        """Take one report."""
        if report.is_gone:
            self._owned.pop(report.number, None)
            self._current.pop(report.number, None)
            return
        before = self._current.get(report.number, report.name)
        if before != report.name and report.number in self._owned:
            self._renamed.append((before, report.name))
        self._current[report.number] = report.name
        if report.name in self._configured:
            self._owned.setdefault(report.number, report.name)

    def note_all(self, interfaces: Iterable[tuple[int, str]]) -> None:
        """Take the number and name of every interface that is there; the others have gone."""
        there = dict(interfaces)
        for number in self._current.keys() - there.keys():
            self.note(LinkReport(number, "", is_gone=True))
        for number, name in there.items():
            self.note(LinkReport(number, name, is_gone=False))

    def now(self, configured: str) -> tuple[str, ...]:
        """Return the names that one configured interface has, or would have; sorted."""
        found = {self._current[i] for i, name in self._owned.items() if name == configured}
        if configured not in self._current.values():
            found.add(configured)
        return tuple(sorted(found))

    def numbers(self, configured: str) -> tuple[int, ...]:
        """Return the indexes of the interfaces that belong to one configured name; sorted."""
        return tuple(sorted(i for i, name in self._owned.items() if name == configured))

    def take_renamed(self) -> list[tuple[str, str]]:
        """Return the old and new names of ours that were renamed since the last call, in order."""
        renamed, self._renamed = self._renamed, []
        return renamed

    @property
    def unmanaged(self) -> tuple[str, ...]:
        """The interfaces that belong to no configured name, sorted."""
        return tuple(sorted(name for i, name in self._current.items() if i not in self._owned))


class InterfaceWatch:
    """The kernel's notifications about interfaces, taken into InterfaceNames; never blocks."""

    def __init__(self, names: InterfaceNames) -> None:
        """Begin to listen and note what is there; raises OSError."""
        self._names = names
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.settimeout(0)
        self._socket.bind((0, 0))
        self._socket.setsockopt(
            netlink_socket.SOL_NETLINK, netlink_socket.NETLINK_ADD_MEMBERSHIP, rtnetlink.GROUP_LINK
        )
        # What is called by a configured name now belongs to it, before anything is renamed.
        self._note_all()

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def drain(self) -> None:
        """Take in everything that has been reported; raises OSError."""
        for data in netlink_socket.waiting(self._socket):
            if data is None:
                self._note_all()
                continue
            for message in netlink.messages(data):
                report = rtnetlink.read_link(message)
                if report is not None:
                    self._names.note(report)

    def _note_all(self) -> None:
        self._names.note_all(socket.if_nameindex())
