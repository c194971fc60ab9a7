"""A moment without changes to nftables, which nft needs to read before it writes.

nft reads the tables there are first, and begins anew whenever a transaction comes in between. Each
pinhole is one: beside four workers with three hundred binds a second each, making one table more
took 1 to 10 seconds, or did not come to an end. So a process of ours that runs nft asks the others
to wait, by eight bytes of memory that all of them share. Then it takes 0.03 to 0.05 seconds.
"""

import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sallyport import limits

_SIZE = 8

# How often a process that waits looks whether it may go on.
_LOOK_SECONDS = 0.001


class Quiet:
    """The shared memory: until when, by the monotonic clock, changes wait; 0 for no wait."""

    def __init__(self) -> None:
        """Begin with memory of our own, which others may join."""
        self._map(os.memfd_create("sallyport-quiet", os.MFD_CLOEXEC))

    def fileno(self) -> int:
        """Return the descriptor by which another process joins."""
        return self._descriptor

    def join(self, descriptor: int) -> None:
        """Share the memory of another process from now on; takes the descriptor over."""
        os.close(self._descriptor)
        self._map(descriptor)

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Let the others wait in the block, at most `limits.QUIET_SECONDS`."""
        until = time.monotonic() + limits.QUIET_SECONDS
        self._until[0] = until
        try:
            yield
        finally:
            if self._until[0] == until:  # else another process has asked meanwhile
                self._until[0] = 0.0

    def heed(self) -> None:
        """Wait while another process asks for it; costs a tenth of a microsecond when none does."""
        while (until := self._until[0]) and until > time.monotonic():
            time.sleep(_LOOK_SECONDS)

    def _map(self, descriptor: int) -> None:
        os.ftruncate(descriptor, _SIZE)
        self._descriptor = descriptor
        self._until = memoryview(mmap.mmap(descriptor, _SIZE)).cast("d")


QUIET = Quiet()
"""That of this process: nftables are one for all parts of it."""
