"""What a running gateway hands over to its successor: sockets, guard, and its workers."""

import os
import socket
from collections.abc import Callable, Iterable
from contextlib import ExitStack

from sallyport.kernel.quiet import QUIET
from sallyport.ops.processes.fleet import Fleet
from sallyport.ops.processes.ground import Ground
from sallyport.ops.processes.member import Member, WorkerLost
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

    async def release(self, require_heir: Callable[[], None]) -> tuple[Crew, list[int]]:
        """Let go of every worker that serves; return what a successor needs of each besides.

        A worker may end at any moment, as one that only finishes its sessions does: it is left out.
        So may the successor while they are asked: then `require_heir` raises. Raises OperatorError
        or OSError, with nothing let go.
        """
        serving = [member for member in self._fleet.members() if member.is_serving]
        with ExitStack() as undo:
            duplicates: dict[Member, list[int]] = {}
            for member in serving:
                duplicates[member] = member.duplicates()
                for number in duplicates[member]:
                    undo.callback(os.close, number)
            for member in serving:
                await _let_outlive(member)
            require_heir()
            undo.pop_all()
        self._fleet.let_go()
        mates, descriptors = [], []
        for member, numbers in duplicates.items():
            # Of the others the duplicates go with this process, which has nothing else to do.
            if member.pid is not None and numbers:
                mates.append(Mate(member.number, member.index, member.series, member.pid))
                descriptors += numbers
                member.release()
        return Crew(mates), descriptors


async def _let_outlive(member: Member) -> None:
    """Let it not end with our process; nothing happens when it ends meanwhile."""
    try:
        await member.ask(Outlive(), type(None))
    except WorkerLost:
        if member.pid is not None:
            raise


def _descriptors(sockets: Iterable[socket.socket]) -> list[int]:
    return [sock.fileno() for sock in sockets]
