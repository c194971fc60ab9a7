"""Suspending system calls of a child: seccomp(2) with a listener, in ctypes.

The child installs the filter on itself and hands the listener over; the calls that are named wait
until the parent has answered. Needs Linux 5.6 and no privileges; the child and its children can
gain none any more (`PR_SET_NO_NEW_PRIVS`), so a setuid program in it does not become root.
"""

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_LIBC: Final = ctypes.CDLL(None, use_errno=True)

# asm/unistd_64.h and asm-generic/unistd.h; AUDIT_ARCH_… of linux/audit.h.
_NUMBERS: Final = {
    "x86_64": {"bind": 49, "listen": 50, "getsockname": 51, "seccomp": 317, "pidfd_getfd": 438},
    "aarch64": {"bind": 200, "listen": 201, "getsockname": 204, "seccomp": 277, "pidfd_getfd": 438},
}
_ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

_PR_SET_NO_NEW_PRIVS: Final = 38
_SET_MODE_FILTER: Final = 1
_NEW_LISTENER: Final = 8
_ALLOW: Final = 0x7FFF0000
_USER_NOTIF: Final = 0x7FC00000
# Offsets in struct seccomp_data.
_OFFSET_NUMBER: Final = 0
_OFFSET_ARCHITECTURE: Final = 4
# Classic BPF: load a word, jump if equal, return.
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06

# ioctl numbers of linux/seccomp.h.
_RECV, _SEND, _ID_VALID = 0xC0502100, 0xC0182101, 0x40082102
_CONTINUE: Final = 1
_NOTIFICATION: Final = struct.Struct("=QIIiIQ6Q")
_RESPONSE: Final = struct.Struct("=QqiI")


class Unsupported(Exception):
    """This machine cannot suspend system calls; the message says why."""


@dataclass(frozen=True, slots=True)
class Call:
    """One suspended system call of thread `pid`; `arguments` are its six registers."""

    ident: int
    pid: int
    name: str
    arguments: tuple[int, ...]


def filter_program(machine: str, names: Sequence[str]) -> bytes:
    """Write the filter as classic BPF: the calls named are suspended, all others pass.

    A call by another ABI of the machine passes too: what it opens stays local. Raises Unsupported.
    """
    if machine not in _NUMBERS:
        known = ", ".join(_NUMBERS)
        raise Unsupported(f"system calls of {machine} are not known here, only those of {known}")
    numbers = [_NUMBERS[machine][name] for name in names]
    steps = [
        (_LOAD, 0, 0, _OFFSET_ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _ALLOW),
        (_LOAD, 0, 0, _OFFSET_NUMBER),
        *((_JUMP_EQUAL, len(numbers) - i, 0, number) for i, number in enumerate(numbers)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _USER_NOTIF),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def install(names: Sequence[str]) -> int:
    """Suspend these calls of this process and its children from now on; return the listener.

    Raises Unsupported when the kernel or a sandbox around us does not allow it.
    """
    machine = os.uname().machine
    code = filter_program(machine, names)
    steps = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(steps))
    if _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise Unsupported("the kernel does not know PR_SET_NO_NEW_PRIVS")
    listener = _LIBC.syscall(_NUMBERS[machine]["seccomp"], _SET_MODE_FILTER, _NEW_LISTENER, program)
    if listener < 0:
        reason = os.strerror(ctypes.get_errno())
        raise Unsupported(f"seccomp user notification is not available: {reason}")
    return int(listener)


class Listener:
    """The parent's end: suspended calls come out of it, answers go in."""

    def __init__(self, descriptor: int) -> None:
        """Take over the descriptor."""
        self._descriptor = descriptor
        self._names = {number: name for name, number in _NUMBERS[os.uname().machine].items()}

    def fileno(self) -> int:
        """Return the descriptor: readable when a call waits, hung up when no process is left."""
        return self._descriptor

    def receive(self) -> Call | None:
        """Return the next call; None when its process is gone already."""
        buffer = ctypes.create_string_buffer(_NOTIFICATION.size)
        try:
            self._ioctl(_RECV, buffer)
        except OSError as error:
            if error.errno in (errno.EINTR, errno.ENOENT):
                return None
            raise
        ident, pid, _, number, _, _, *arguments = _NOTIFICATION.unpack(buffer.raw)
        return Call(ident, pid, self._names[number], tuple(arguments))

    def is_waiting(self, call: Call) -> bool:
        """Whether the call still waits: only then its `pid` is the process that made it."""
        try:
            self._ioctl(_ID_VALID, ctypes.create_string_buffer(struct.pack("=Q", call.ident), 8))
        except OSError:
            return False
        return True

    def go_on(self, call: Call) -> None:
        """Let the kernel carry the call out."""
        self._respond(_RESPONSE.pack(call.ident, 0, 0, _CONTINUE))

    def answer(self, call: Call, error: int = 0) -> None:
        """Return from the call without the kernel: 0, or this errno."""
        self._respond(_RESPONSE.pack(call.ident, 0, -error, 0))

    def close(self) -> None:
        """Let every call that waits fail with ENOSYS."""
        os.close(self._descriptor)

    def _respond(self, response: bytes) -> None:
        try:
            self._ioctl(_SEND, ctypes.create_string_buffer(response, len(response)))
        except OSError as error:
            if error.errno != errno.ENOENT:  # its process was killed meanwhile
                raise

    def _ioctl(self, request: int, buffer: "ctypes.Array[ctypes.c_char]") -> None:
        if _LIBC.ioctl(self._descriptor, ctypes.c_ulong(request), buffer) < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


def socket_of(pid: int, descriptor: int) -> socket.socket:
    """Return the very socket that a thread knows by `descriptor`; raises OSError."""
    process = os.pidfd_open(_process_of(pid))
    try:
        number = _NUMBERS[os.uname().machine]["pidfd_getfd"]
        copy = _LIBC.syscall(number, process, descriptor, 0)
        if copy < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return socket.socket(fileno=copy)
    finally:
        os.close(process)


def bind_raw(sock: socket.socket, name: bytes) -> int:
    """Bind a socket to a struct sockaddr; return the errno, 0 for none."""
    return 0 if _LIBC.bind(sock.fileno(), name, len(name)) == 0 else ctypes.get_errno()


def _process_of(thread: int) -> int:
    with open(f"/proc/{thread}/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("Tgid:"):
                return int(line.split()[1])
    return thread
