"""What a running gateway hands over to its successor: sockets, guard, and its workers."""

import socket
from collections.abc import Iterable

from sallyport.kernel.quiet import QUIET
from sallyport.ops.processes.fleet import Fleet
from sallyport.ops.processes.ground import Ground
from sallyport.ops.processes.messages import Outlive
from sallyport.ops.processes.takeover import Crew, EstateOffer, Mate


class RunningEstate:
    """The fleet and the ground of one supervisor, as `takeover.Estate`."""

    def __init__(self, fleet: Fleet, ground: Ground) -> None:
        self._fleet = fleet
        self._ground = ground

    def offer(self) -> tuple[EstateOffer, list[int]]:
        """Return what a successor needs to serve beside us, and the descriptors of the sockets."""
        fleet = self._fleet
        there = fleet.listeners.all()
        last = max((member.number for member in fleet.members()), default=0)
        offer = EstateOffer(fleet.plan, list(there), self._ground.guard, last)
        sockets = (sock for sockets in there.values() for sock in sockets)
        return offer, [QUIET.fileno(), *_descriptors(sockets)]

    async def release(self) -> tuple[Crew, list[int]]:
        """Let go of every worker that serves; return the connections to them besides."""
        serving = [member for member in self._fleet.members() if member.is_serving]
        for member in serving:
            await member.ask(Outlive(), type(None))
        self._fleet.let_go()
        mates, connections = [], []
        for member in serving:
            pid, sock = member.release()
            mates.append(Mate(member.number, member.index, member.series, pid))
            connections.append(sock)
        return Crew(mates), [sock.detach() for sock in connections]


def _descriptors(sockets: Iterable[socket.socket]) -> list[int]:
    return [sock.fileno() for sock in sockets]
