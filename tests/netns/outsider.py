"""A host outside that tries without pause to reach a client inside."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from tests.netns.kernel_bench import begin, datagrams, listen

from sallyport.lab.network import Lab

INSIDE = {4: "10.0.0.8:8080", 6: "[fd00:a::8]:8080"}

# One that gets in does so in a millisecond.
SILENCE = 0.3


@contextmanager
def outsider(lab: Lab) -> Iterator[list[str]]:
    """Try all the time to reach the client from outside; what got in is in the list."""
    got_in: list[str] = []
    over = threading.Event()

    def knock() -> None:
        with ExitStack() as stack:
            throwers = [
                stack.enter_context(datagrams(lab.stranger, at)) for at in ("0.0.0.0:0", "[::]:0")
            ]
            while not over.is_set():
                callers = [begin(lab.stranger, at) for at in INSIDE.values()]
                for sock, at in zip(
                    throwers, (("10.0.0.8", 8080), ("fd00:a::8", 8080)), strict=True
                ):
                    with suppress(OSError):
                        sock.sendto(b"?", at)
                over.wait(0.002)
                for caller in callers:
                    caller.close()

    with ExitStack() as stack:
        streams = [stack.enter_context(listen(lab.client, at)) for at in INSIDE.values()]
        heard = [stack.enter_context(datagrams(lab.client, at)) for at in INSIDE.values()]
        knocking = threading.Thread(target=knock)
        knocking.start()
        try:
            yield got_in
        finally:
            over.set()
            knocking.join()
        time.sleep(SILENCE)
        for sock in streams:
            sock.setblocking(False)
            with suppress(BlockingIOError):
                got_in.append(f"connection from {sock.accept()[1]}")
        for sock in heard:
            sock.setblocking(False)
            with suppress(BlockingIOError):
                got_in.append(f"datagram from {sock.recvfrom(8)[1]}")
