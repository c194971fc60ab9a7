"""Starting the wrapped program, and finding the gateway it has."""

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address
from pathlib import Path
from types import FrameType
from typing import Final

from sallyport.addresses import IpAddress, IpNetwork, parse_address
from sallyport.client import DEFAULT_SOCKET
from sallyport.errors import NotRunning, OperatorError
from sallyport.wrap import seccomp
from sallyport.wrap.api_mapper import ApiMapper
from sallyport.wrap.mapped import Mapper
from sallyport.wrap.pcp_client import PcpClient
from sallyport.wrap.supervisor import CALLS, SocketSupervisor

NOT_FOUND: Final = 127
"""What a shell's exit status is for a program that is not there."""

# The least a lifetime may be for its renewal, at half of it, to come before it ends on any network.
MIN_LIFETIME: Final = 120


_FORWARDED: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class CannotWrap(OperatorError):
    """A program cannot be wrapped here; the message says why and what to do."""

    code = "cannot-wrap"


def default_gateway(routes: Path = Path("/proc/net/route")) -> IpAddress:
    """Return the gateway of the default route (proc(5)); raises CannotWrap when there is none."""
    for line in routes.read_text(encoding="ascii").splitlines()[1:]:
        _, destination, gateway, flags, *_ = line.split()
        # RTF_GATEWAY of linux/route.h. The kernel writes the address as a number of this machine.
        if destination == "00000000" and int(flags, 16) & 2:
            return IPv4Address(int(gateway, 16).to_bytes(4, sys.byteorder))
    raise CannotWrap("there is no default route; say --gateway ADDRESS")


def gateway_of(
    named: str | None, peers: Sequence[IpNetwork], lifetime: int, usual: Path = Path(DEFAULT_SOCKET)
) -> Mapper:
    """Return how to ask a gateway: at a socket on this host, or by PCP.

    `named` is the path of a socket or an address; None: the `usual` socket where there is one, else
    the gateway of the default route. `peers`: who may connect; none: anyone. `lifetime` is what is
    asked for, in seconds, and renewed. Raises CannotWrap, and ValueError for what names no gateway.
    """
    path = usual if named is None else Path(named)
    if "/" in (named or "") or (named is None and path.is_socket()):
        try:
            return ApiMapper(path, peers, lifetime, default_gateway)
        except NotRunning as error:
            raise CannotWrap(str(error)) from None
        except OSError as error:
            raise CannotWrap(f"cannot ask at {path}: {error.strerror}") from None
    address = default_gateway() if named is None else parse_address(named)
    try:
        return PcpClient(address, peers, lifetime)
    except OSError as error:
        raise CannotWrap(f"no way to the gateway {address}: {error.strerror}") from None


def run(
    program: Sequence[str],
    *,
    gateway: Mapper,
    shows_external: bool,
    say: Callable[[str], None],
) -> int:
    """Run a program to its end and return its exit status, 128 + N when signal N ended it.

    What it listens on appears at `gateway`. Every mapping is given back at the end, and `gateway`
    is closed. Raises CannotWrap.
    """
    ours, theirs = socket.socketpair()
    child = os.fork()
    if not child:
        ours.close()
        _become(program, theirs)
    theirs.close()
    with ours:
        message, descriptors, _, _ = socket.recv_fds(ours, 4096, 1)
    if not descriptors:
        os.waitpid(child, 0)
        gateway.close()
        raise CannotWrap(message.decode(errors="replace") or "the program cannot be started")
    listener = seccomp.Listener(descriptors[0])
    supervisor = SocketSupervisor(listener, gateway, shows_external=shows_external, say=say)
    try:
        with _forwarding_signals(child):
            supervisor.run()
    finally:
        supervisor.close()
        listener.close()
        gateway.close()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


@contextmanager
def _forwarding_signals(child: int) -> Iterator[None]:
    """Hand what ends a program over to the child: its end is ours, with every port given back."""

    def forward(number: int, _frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _become(program: Sequence[str], parent: socket.socket) -> None:
    """Be the child: hand the listener over, then be the program. Never returns."""
    try:
        try:
            listener = seccomp.install(CALLS)
        except seccomp.Unsupported as error:
            parent.send(str(error).encode())
            os._exit(1)
        socket.send_fds(parent, [b"ready"], [listener])
        os.close(listener)
        parent.close()
        os.execvp(program[0], list(program))  # noqa: S606 - the operator's own program and words
    except OSError as error:
        os.write(2, f"sallyport: {program[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(NOT_FOUND)
