"""The pinholes' elements in the pins table: put up, changed, taken down, and swept.

A pinhole whose one place is taken lets no flow past the handshake any more.
So what is left of it needs no transaction of its own: it is *retired*, and goes with the next that
is made anyway, or after some milliseconds.
"""

import errno
from collections.abc import Callable, Sequence

from sallyport.errors import KernelError
from sallyport.kernel import installed_pinhole
from sallyport.kernel.installed_pinhole import InstalledPinhole
from sallyport.kernel.table import OwnedTable

# The kernel was out of memory for a moment; an open pinhole may not stay for want of a retry.
RETRY_SECONDS = 0.1

# How long retired elements wait for a transaction to go with.
SWEEP_SECONDS = 0.01

# Elements deleted in one transaction when many pinholes close: about 200 KiB of batch at most,
# which is what a socket's send buffer takes by default.
_CLOSED_PER_BATCH = 256

Later = Callable[[float, Callable[[], None]], None]
"""Does something in so many seconds, or never if there is no loop any more."""


class ElementWriter:
    """What the kernel holds for pinholes."""

    def __init__(self, table: OwnedTable, later: Later) -> None:
        self._table = table
        self._later = later
        self._retired: list[InstalledPinhole] = []
        self._waiting: list[Callable[[], None]] = []
        self._is_sweep_due = False

    def close(self) -> None:
        """Let go: the kernel removes all elements at once."""
        self._retired.clear()
        self._table.close()

    def put(self, entered: Sequence[InstalledPinhole]) -> None:
        """Put up all or none of these pinholes, in one transaction; raises KernelError."""
        added = installed_pinhole.additions(map(installed_pinhole.wanted, entered))
        if self._retired:
            removed = installed_pinhole.removals(map(installed_pinhole.held, self._retired))
            try:
                self._table.change(removed, added)
            except KernelError:
                # Whichever was refused, the other does not suffer for it.
                self.sweep()
                self._table.change((), added)
            else:
                self._retired.clear()
                self._go_on()
        else:
            self._table.change((), added)
        for installed in entered:
            installed.note_installed()

    def sync(self, changed: Sequence[InstalledPinhole]) -> None:
        """Bring the kernel up to what pinholes want, in one transaction; raises KernelError."""
        differences = [
            installed_pinhole.difference(
                installed_pinhole.held(installed), installed_pinhole.wanted(installed)
            )
            for installed in changed
        ]
        self._table.change(
            installed_pinhole.removals(gone for gone, _ in differences),
            installed_pinhole.additions(new for _, new in differences),
        )
        for installed in changed:
            installed.note_installed()

    def take_down(self, closed: Sequence[InstalledPinhole]) -> None:
        """Delete the elements of these, and of all that are retired; never raises.

        Those that the kernel cannot delete now are retired, and tried again.
        """
        gone, self._retired = [*closed, *self._retired], []
        for start in range(0, len(gone), _CLOSED_PER_BATCH):
            self._retired += self._delete(gone[start : start + _CLOSED_PER_BATCH])
        if self._retired:
            self._sweep_within(RETRY_SECONDS)
        else:
            self._go_on()

    def retire(self, installed: InstalledPinhole) -> None:
        """Take down a pinhole whose one place is taken, soon; never raises.

        Until then its number and its port must not be given out again (`when_swept`).
        """
        self._retired.append(installed)
        if len(self._retired) % _CLOSED_PER_BATCH == 0:
            self.sweep()
        else:
            self._sweep_within(SWEEP_SECONDS)

    def sweep(self) -> bool:
        """Take down what is retired, now; tell whether anything was. Never raises."""
        has_retired = bool(self._retired)
        self.take_down(())
        return has_retired

    def when_swept(self, action: Callable[[], None]) -> None:
        """Do this when what is retired now has been taken down; at once if nothing is."""
        if self._retired:
            self._waiting.append(action)
        else:
            action()

    def _sweep_within(self, seconds: float) -> None:
        if not self._is_sweep_due:
            self._is_sweep_due = True
            self._later(seconds, self._sweep_when_due)

    def _sweep_when_due(self) -> None:
        self._is_sweep_due = False
        self.sweep()

    def _go_on(self) -> None:
        waiting, self._waiting = self._waiting, []
        for action in waiting:
            action()

    def _delete(self, closed: Sequence[InstalledPinhole]) -> list[InstalledPinhole]:
        """Delete the elements of these; give those whose elements could not be deleted."""
        removed = installed_pinhole.removals(map(installed_pinhole.held, closed))
        try:
            self._table.change(removed, ())
        except KernelError as error:
            if len(closed) > 1:
                # One of them is gone already; the others must not stay open for its sake.
                return [left for installed in closed for left in self._delete([installed])]
            if error.errno != errno.ENOENT:
                return list(closed)
        return []
