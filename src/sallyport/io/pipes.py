"""Pipes to splice through, lent for as long as bytes are in one."""

import contextlib
import fcntl
import os
from dataclasses import dataclass

# Linux lets a user without privileges have this much (fs.pipe-max-size); measured, a single stream
# through 64 KiB pipes is a third slower.
LARGE_PIPE_BYTES = 1024 * 1024

# Enlarged pipes at once, 64 MiB of memory that slow readers can pin; the same bound the kernel has
# for users without privileges (fs.pipe-user-pages-soft). Further ones have the default size.
MAX_LARGE_PIPES = 64

# One turn of the loop needs one pipe, and keeps it only when its reader is slow. A few more than
# one spare pipe save making and closing them while several readers take turns at being slow.
MAX_SPARE_PIPES = 8


@dataclass(frozen=True, slots=True)
class Pipe:
    """Two descriptors, neither of which ever blocks."""

    reader: int
    writer: int
    is_large: bool

    def close(self) -> None:
        """Close both ends, with whatever is inside."""
        os.close(self.reader)
        os.close(self.writer)


class Pipes:
    """Lends empty pipes; idle flows hold none."""

    def __init__(self) -> None:
        self._spare: list[Pipe] = []
        self._large = 0

    def borrow(self) -> Pipe | None:
        """Return an empty pipe; None when this process or the host has no descriptor left."""
        if self._spare:
            return self._spare.pop()
        try:
            reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        is_large = self._large < MAX_LARGE_PIPES and _enlarged(writer)
        self._large += is_large
        return Pipe(reader, writer, is_large)

    def give_back(self, pipe: Pipe) -> None:
        """Take an empty pipe back."""
        if len(self._spare) < MAX_SPARE_PIPES:
            self._spare.append(pipe)
        else:
            self.discard(pipe)

    def discard(self, pipe: Pipe) -> None:
        """Close a pipe that was lent, with whatever is inside."""
        self._large -= pipe.is_large
        pipe.close()

    def close(self) -> None:
        """Close what is not lent."""
        while self._spare:
            self.discard(self._spare.pop())


def _enlarged(descriptor: int) -> bool:
    with contextlib.suppress(OSError):
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, LARGE_PIPE_BYTES)
        return True
    return False
