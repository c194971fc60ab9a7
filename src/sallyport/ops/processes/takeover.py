"""One supervisor takes over from another, of an older release: what runs is handed over.

The new one lets a worker read the configuration, then asks at the control socket. The old one
connects to it and offers the listening sockets. Now the new workers are made beside the old ones,
and both accept at the same sockets. When all serve, the old supervisor hands over its workers and
ends, without undoing anything: guard, sysctls and routes are the new one's. Up to that moment
either of the two may fail, and the old one goes on.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol, Self, TypeVar

import msgspec
from msgspec import Struct

from sallyport import limits
from sallyport.errors import StartupError
from sallyport.kernel.quiet import QUIET
from sallyport.ops.arrivals import Place
from sallyport.ops.control.access import Rights, pid_of_peer
from sallyport.ops.control.client import request
from sallyport.ops.control.operations import Access
from sallyport.ops.control.schema import TakeoverBegun
from sallyport.ops.processes.channel import Channel
from sallyport.ops.processes.messages import Plan

_T = TypeVar("_T", bound=Struct)

_GAVE_UP = "the other gateway gave up; nothing was taken over"


class EstateOffer(Struct, frozen=True, tag=True):
    """What the old gateway is; descriptors: the shared memory of kernel/quiet.py, and the sockets
    of each place, worker by worker."""

    plan: Plan
    places: list[Place]
    guard: str | None
    """The name of its guard table; None where there is none."""
    last_number: int
    """The highest number of a worker so far."""


class Ready(Struct, frozen=True, tag=True):
    """The new workers serve."""


class Mate(Struct, frozen=True):
    """One worker that changes its supervisor."""

    number: int
    index: int
    series: int
    pid: int


class Crew(Struct, frozen=True, tag=True):
    """The old workers; descriptors: the connection to each, and its pidfd.

    From here on they are the new one's.
    """

    mates: list[Mate]


_Word = EstateOffer | Ready | Crew
_words = msgspec.json.Decoder(_Word)


class Estate(Protocol):
    """What a gateway hands over; while that lasts nothing of it changes."""

    def offer(self) -> tuple[EstateOffer, list[int]]:
        """Return what there is, and the descriptors that go with it."""

    async def release(self, require_heir: Callable[[], None]) -> tuple[Crew, list[int]]:
        """Let go of all workers; return them and the descriptors that go with them.

        Calls `require_heir` just before: what it raises is raised, with nothing let go.
        """


class _Talk:
    """The words of the two supervisors to one another, in order."""

    def __init__(self, sock: socket.socket) -> None:
        self._heard: asyncio.Queue[_Word | None] = asyncio.Queue()
        self.latest: _Word | None = None
        """What was said last, whether or not it was waited for."""
        self.channel = Channel(
            sock,
            asyncio.get_running_loop(),
            self._hear,
            lambda: self._heard.put_nowait(None),
        )

    def _hear(self, body: bytes) -> None:
        self.latest = _words.decode(body)
        self._heard.put_nowait(self.latest)

    async def next(self, kind: type[_T]) -> _T:
        """Return the next word, which must be of this kind; raises StartupError."""
        try:
            async with asyncio.timeout(limits.TAKEOVER_SECONDS):
                word = await self._heard.get()
        except TimeoutError:
            raise StartupError("the other gateway says nothing; nothing was taken over") from None
        if not isinstance(word, kind):
            raise StartupError(_GAVE_UP)
        return word

    def require_other(self) -> None:
        """Check that the other gateway is there; raises StartupError."""
        self.channel.read_rest()
        if not self.channel.is_open:
            raise StartupError(_GAVE_UP)


async def see_the_end(pidfd: int) -> None:
    """Wait until a process has ended that has nothing to do any more; one that hangs is killed.

    Else the one that waits would have to give up, and no gateway would be left. Raises StartupError
    when it does not end even so.
    """
    if not await _has_ended(pidfd):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        if not await _has_ended(pidfd):
            raise StartupError("the gateway that handed over does not end; stop it")


async def _has_ended(pidfd: int) -> bool:
    """Wait a little for the end of a process; return whether it came."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        with suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), limits.WORKER_STOP_SECONDS)
    finally:
        loop.remove_reader(pidfd)
    return ended.is_set()


class Predecessor:
    """The gateway that is taken over, as its successor sees it."""

    def __init__(self, pid: int, talk: _Talk, offer: EstateOffer) -> None:
        """Take over the sockets that came with the offer of the process `pid`; raises OSError."""
        self._process = os.pidfd_open(pid)
        self._talk = talk
        self.offer = offer
        workers = offer.plan.workers
        numbers = iter(talk.channel.take_descriptors(1 + workers * len(offer.places)))
        QUIET.join(next(numbers))
        self.sockets: dict[Place, list[socket.socket]] = {
            place: [socket.socket(fileno=next(numbers)) for _ in range(workers)]
            for place in offer.places
        }

    @classmethod
    async def meet(cls, control_socket: Path) -> Self:
        """Ask the gateway at a control socket to hand over.

        Raises NotRunning when there is none, OperatorError when it does not want to or is too old,
        StartupError.
        """
        with _Doorstep(control_socket) as doorstep:
            begun = await asyncio.to_thread(
                request, control_socket, "takeover", expect=TakeoverBegun
            )
            talk = _Talk(await doorstep.visitor())
        return cls(begun.pid, talk, await talk.next(EstateOffer))

    async def crew(self) -> list[tuple[Mate, int, socket.socket]]:
        """Say that all is ready, and return the workers, each with its pidfd and connection.

        The gateway is ours when this returns. Raises StartupError.
        """
        self._talk.channel.send(Ready())
        crew = await self._talk.next(Crew)
        numbers = iter(self._talk.channel.take_descriptors(2 * len(crew.mates)))
        connections = zip(crew.mates, numbers, numbers, strict=True)
        return [
            (mate, pidfd, socket.socket(fileno=connection))
            for mate, connection, pidfd in connections
        ]

    def settle(self) -> bool:
        """Break off, unless it has let go by now; return whether the gateway is ours so."""
        self._talk.channel.read_rest()
        self._talk.channel.close()
        return isinstance(self._talk.latest, Crew)

    async def gone(self) -> None:
        """Wait until its process has ended, and with it its guard and its control socket.

        Raises StartupError when it does not.
        """
        await see_the_end(self._process)

    def close(self) -> None:
        """Let go of the connection to it, and break off if it has not handed over yet."""
        os.close(self._process)
        self._talk.channel.close()


async def hand_over(control_socket: Path, estate: Estate) -> int:
    """Hand an estate to the gateway that has asked at our control socket; return its process id.

    When this returns all is the other's, who waits for our end. Raises OperatorError with nothing
    changed; as a rule the other one has ended by then.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(os.fspath(_doorstep(control_socket)))
        _require_own(sock)
        pid = pid_of_peer(sock)
        process = os.pidfd_open(pid)
    except OSError as error:
        sock.close()
        raise StartupError(f"no gateway waits to take over: {error.strerror}") from None
    talk = _Talk(sock)
    try:
        offer, descriptors = estate.offer()
        talk.channel.send(offer, descriptors)
        await talk.next(Ready)
        crew, descriptors = await estate.release(talk.require_other)
    except BaseException as error:
        talk.channel.close()
        # It has set up the host, perhaps, and looks after it: what is done there now would not
        # last, and what it leaves is ours.
        await _has_ended(process)
        if isinstance(error, OSError):
            raise StartupError(f"nothing can be handed over: {error.strerror}") from None
        raise
    finally:
        os.close(process)
    talk.channel.send(crew, descriptors)
    return pid


class _Doorstep:
    """The socket at which the old gateway meets the new one, beside the control socket."""

    def __init__(self, control_socket: Path) -> None:
        self._path = _doorstep(control_socket)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def __enter__(self) -> Self:
        try:
            self._path.unlink(missing_ok=True)
            self._listener.bind(os.fspath(self._path))
            self._path.chmod(0o600)
        except OSError as error:
            self._listener.close()
            raise StartupError(f"{self._path}: {error.strerror}") from None
        self._listener.listen(1)
        self._listener.setblocking(False)
        return self

    def __exit__(self, *_error: object) -> None:
        self._listener.close()
        self._path.unlink(missing_ok=True)

    async def visitor(self) -> socket.socket:
        """Return the connection of who comes; raises StartupError."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(limits.WORKER_STOP_SECONDS):
                sock, _name = await loop.sock_accept(self._listener)
        except TimeoutError:
            raise StartupError("the running gateway does not come to hand over") from None
        _require_own(sock)
        return sock


def _doorstep(control_socket: Path) -> Path:
    return control_socket.with_name(f"{control_socket.name}.next")


def _require_own(sock: socket.socket) -> None:
    """Check that the other end is a process of our user or of root; raises StartupError."""
    if Rights().of_peer(sock) is not Access.CHANGE:
        sock.close()
        raise StartupError("a process of another user wants to take part in the takeover")
