"""What happens to a wrapped program's sockets: each one that listens appears at the gateway.

Order matters for programs that announce where they listen. Some ask for their own address between
bind() and listen() (curl's PORT does), so a mapping is made at the first of the two.
"""

import contextlib
import errno
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Final

from sallyport.addresses import Endpoint, parse_address
from sallyport.wrap import names, seccomp
from sallyport.wrap.mapped import Mapped, Mapper, Refused
from sallyport.wrap.seccomp import Call, Listener

CALLS: Final = ("bind", "listen", "getsockname")

# A gateway that begins anew is back within seconds, and one that refuses is asked no more often.
_AGAIN_SECONDS: Final = 5.0

_PROTOCOLS: Final = {socket.SOCK_STREAM: 6, socket.SOCK_DGRAM: 17}
_INET: Final = (socket.AF_INET, socket.AF_INET6)


class SocketSupervisor:
    """Serves the suspended calls of one program and of all that it starts."""

    def __init__(
        self,
        listener: Listener,
        gateway: Mapper,
        *,
        shows_external: bool,
        say: Callable[[str], None],
    ) -> None:
        """`shows_external`: getsockname() gives the gateway's address, for programs that announce
        it to their peer. `say` takes a line for a person.
        """
        self._listener = listener
        self._gateway = gateway
        self._shows_external = shows_external
        self._say = say
        self._mapped: dict[int, Mapped] = {}
        """By the inode of the socket."""
        self._failing: set[int] = set()
        """Those whose renewal has failed."""
        self._due = float("inf")
        """When the next renewal is due: at half of the shortest lifetime, or soon after a failure.
        """

    def run(self) -> None:
        """Serve calls and renew mappings until the last process of the program has ended."""
        while True:
            poll = select.poll()
            poll.register(self._listener, select.POLLIN)
            if (news := self._gateway.news) is not None:
                poll.register(news, select.POLLIN)
            for descriptor, events in poll.poll(self._milliseconds_to_renewal()):
                if descriptor == news:
                    if not self._gateway.heed():
                        self._due = time.monotonic()
                elif events & select.POLLIN:
                    if (call := self._listener.receive()) is not None:
                        self._serve(call)
                elif events & select.POLLHUP:
                    return
            self._renew_due()

    def close(self) -> None:
        """Delete every mapping. Never raises."""
        for mapped in self._mapped.values():
            with contextlib.suppress(Refused):  # it ends with its lifetime
                self._gateway.delete(mapped)
        self._mapped.clear()

    # -- calls --------------------------------------------------------------------------------

    def _serve(self, call: Call) -> None:
        try:
            with seccomp.socket_of(call.pid, call.arguments[0]) as sock:
                error = self._answer(call, sock)
        except OSError:  # no socket, or its process is gone: what we do not understand goes on
            error = None
        if error is None:
            self._listener.go_on(call)
        else:
            self._listener.answer(call, error)

    def _answer(self, call: Call, sock: socket.socket) -> int | None:
        """Return the errno to answer with, 0 for success; None to let the kernel do the call."""
        kind = sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
        if sock.family not in _INET or kind not in _PROTOCOLS:
            return None
        if call.name == "listen":
            return self._listen(sock) if kind == socket.SOCK_STREAM else None
        if call.name == "bind":
            return self._bind(call, sock, kind)
        return self._getsockname(call, sock, kind)

    def _listen(self, sock: socket.socket) -> int | None:
        if not _name_of(sock).port:  # listen() without bind(): the kernel would choose just now
            sock.bind(("::" if sock.family == socket.AF_INET6 else "0.0.0.0", 0))  # noqa: S104 - as the kernel does
        return self._map(sock, socket.SOCK_STREAM) or None

    def _bind(self, call: Call, sock: socket.socket, kind: int) -> int | None:
        length = min(call.arguments[2] & 0xFFFFFFFF, names.MAX_BYTES)
        raw = self._read(call, call.arguments[1], length)
        wanted = names.parse(raw)
        if wanted is None:
            return None
        if kind == socket.SOCK_STREAM:
            if not self._is_external(wanted):
                return None
            # The address that getsockname() told, which is the gateway's: any of ours will do.
            unspecified = parse_address("::" if wanted.version == 6 else "0.0.0.0")  # noqa: S104
            raw = names.write(Endpoint(unspecified, wanted.port), sock.family)
        # Bound here, from our copy of the name: the program cannot change it meanwhile.
        error = seccomp.bind_raw(sock, raw)
        if error or kind == socket.SOCK_STREAM or not wanted.port:
            return error
        return self._map(sock, kind)

    def _getsockname(self, call: Call, sock: socket.socket, kind: int) -> int | None:
        if not self._shows_external:
            return None
        name = _name_of(sock)
        mapped = self._mapped.get(os.fstat(sock.fileno()).st_ino)
        is_connected = _is_connected(sock)
        if mapped is None and kind == socket.SOCK_STREAM and name.port and not is_connected:
            if error := self._map(sock, kind):
                return error
            mapped = self._mapped.get(os.fstat(sock.fileno()).st_ino)
        if mapped is not None:
            shown = Endpoint(mapped.external, mapped.port)
        elif is_connected and not name.address.is_loopback and self._mapped_any is not None:
            # A control connection: its program announces this address for the data port.
            shown = Endpoint(self._mapped_any.external, name.port)
        else:
            return None
        return self._write_name(call, names.write(shown, sock.family))

    # -- mappings -----------------------------------------------------------------------------

    @property
    def _mapped_any(self) -> Mapped | None:
        return next(iter(self._mapped.values()), None)

    def _is_external(self, name: Endpoint) -> bool:
        return any(name.address == one.external for one in self._mapped.values())

    def _map(self, sock: socket.socket, kind: int) -> int:
        """Ask the gateway to open the port of a socket; return 0, or EACCES when it refuses."""
        name, inode = _name_of(sock), os.fstat(sock.fileno()).st_ino
        if name.address.is_loopback or not name.port or inode in self._mapped:
            return 0
        try:
            mapped = self._gateway.map(_PROTOCOLS[socket.SocketKind(kind)], name.port)
        except Refused as refusal:
            self._say(f"{_text(kind)} port {name.port} is not opened: {refusal}")
            return errno.EACCES
        self._mapped[inode] = mapped
        external = Endpoint(mapped.external, mapped.port)
        self._say(f"{_text(kind)} port {name.port} is {external} for {mapped.lifetime} s")
        self._due = min(self._due, time.monotonic() + mapped.lifetime / 2)
        return 0

    def _milliseconds_to_renewal(self) -> float | None:
        if self._due == float("inf"):
            return None
        return max(0.0, self._due - time.monotonic()) * 1000

    def _renew_due(self) -> None:
        if time.monotonic() < self._due:
            return
        waits = [self._renew(inode, mapped) for inode, mapped in tuple(self._mapped.items())]
        self._due = time.monotonic() + min(waits, default=float("inf"))

    def _renew(self, inode: int, mapped: Mapped) -> float:
        """Renew one mapping; return after how many seconds that is due again."""
        try:
            self._mapped[inode] = renewed = self._gateway.renew(mapped)
        except Refused as refusal:
            if inode not in self._failing:
                self._failing.add(inode)
                self._say(f"port {mapped.internal_port} is not renewed: {refusal}")
            return _AGAIN_SECONDS
        if inode in self._failing:
            self._failing.remove(inode)
            external = Endpoint(renewed.external, renewed.port)
            self._say(f"port {mapped.internal_port} is {external} again")
        return renewed.lifetime / 2

    # -- the program's memory -----------------------------------------------------------------

    def _read(self, call: Call, where: int, length: int) -> bytes:
        with open(f"/proc/{call.pid}/mem", "rb", buffering=0) as memory:
            memory.seek(where)
            data = memory.read(length)
        # The number of a thread may be another process's by now: the call that waits proves it.
        if not self._listener.is_waiting(call):
            raise ProcessLookupError
        return data

    def _write_name(self, call: Call, name: bytes) -> int:
        """Answer getsockname(): at most as many bytes as there is room for, and how many it has."""
        with open(f"/proc/{call.pid}/mem", "r+b", buffering=0) as memory:
            if not self._listener.is_waiting(call):
                raise ProcessLookupError
            memory.seek(call.arguments[2])
            (room,) = struct.unpack("=I", memory.read(4))
            memory.seek(call.arguments[1])
            memory.write(name[:room])
            memory.seek(call.arguments[2])
            memory.write(struct.pack("=I", len(name)))
        return 0


def _name_of(sock: socket.socket) -> Endpoint:
    host, port = sock.getsockname()[:2]
    return Endpoint(parse_address(host.partition("%")[0].removeprefix("::ffff:")), port)


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def _text(kind: int) -> str:
    return "TCP" if kind == socket.SOCK_STREAM else "UDP"
