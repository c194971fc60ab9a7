"""Clients that come, transfer and go without a pause, in every way that a gateway serves."""

import threading
from collections.abc import Sequence
from random import Random
from time import monotonic

from tests.soak.kinds.call import call
from tests.soak.kinds.film import film
from tests.soak.kinds.ftp import ftp, published_ftp, slow_ftp, slow_published_ftp
from tests.soak.kinds.mapping import mapping
from tests.soak.kinds.socks import socks
from tests.soak.kinds.tftp import tftp
from tests.soak.network import PATIENCE, Network
from tests.soak.visits import Kind, Visit, Way

KINDS = (
    Kind("ftp", 40, ftp),
    Kind("published ftp", 16, published_ftp, way=Way.USER, is_inside=False),
    Kind("slow ftp", 5, slow_ftp),
    Kind("slow published ftp", 2, slow_published_ftp, way=Way.USER, is_inside=False),
    Kind("tftp", 12, tftp),
    Kind("socks", 12, socks, way=Way.USER),
    Kind("mapping", 8, mapping),
    Kind("film", 5, film),
    Kind("call", 4, call),
)


class Load:
    """Clients in threads of their own, that come as often as asked for; seeded."""

    def __init__(
        self,
        network: Network,
        *,
        seed: int,
        clients: int,
        per_second: float,
        kinds: Sequence[Kind] = KINDS,
    ) -> None:
        """Let `clients` at once make `per_second` visits together, where the machine can."""
        self._network = network
        self._kinds = kinds
        self._pause = clients / per_second
        self.visits: list[Visit] = []
        """Those that are over; whoever looks at them takes them away."""
        self.counted = 0
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(Random(f"{seed} {number}"),))
            for number in range(clients)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each finish its visit; idempotent."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def take(self) -> list[Visit]:
        """Return the visits that are over and were not taken before."""
        taken, self.visits = self.visits, []
        self.counted += len(taken)
        return taken

    def _work(self, random: Random) -> None:
        due = monotonic()
        while not self._over.is_set():
            # Who was kept waiting catches up, but not what minutes have left undone.
            due = max(due + random.expovariate(1 / self._pause), monotonic() - PATIENCE)
            if self._over.wait(max(0.0, due - monotonic())):
                return
            visit, kind = self._next(random)
            try:
                kind.do(self._network, visit)
            except Exception as error:  # noqa: BLE001 - every failure counts
                # Without what it refers to: sockets would stay open.
                visit.failure = None if kind.is_rogue else error.with_traceback(None)
            visit.ended = monotonic()
            self.visits.append(visit)

    def _next(self, random: Random) -> tuple[Visit, Kind]:
        kind = random.choices(self._kinds, [kind.share for kind in self._kinds])[0]
        hosts = self._network.insiders if kind.is_inside else self._network.outsiders
        host, family = random.choice(hosts), random.choice((4, 6))
        visit = Visit(kind.name, host, family, kind.way, random, self._over, kind.is_inside)
        return visit, kind
