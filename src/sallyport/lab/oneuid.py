"""Run a program that insists on becoming another user where only one user exists.

    python -m sallyport.lab.oneuid pure-ftpd …

In an unprivileged user namespace only uid 0 is mapped, so setuid(2) and setgroups(2) fail.
pure-ftpd refuses to serve as uid 0 and gives up when it cannot change: no option helps.
A seccomp filter lets those calls succeed without doing anything (Charliecloud builds images this
way). Use it in a laboratory only: the program believes that it has changed, and has not.
"""

import ctypes
import os
import platform
import struct
import sys

# setuid, setgid, setreuid, setregid, setgroups, setresuid, setresgid
_CALLS = {
    "x86_64": (105, 106, 113, 114, 116, 117, 119),
    "aarch64": (146, 144, 145, 143, 159, 147, 149),
}

_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _SUCCEED = 0x7FFF0000, 0x00050000  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO | 0
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _SECCOMP_MODE_FILTER = 22, 38, 2


def _program(calls: tuple[int, ...]) -> bytes:
    """Classic BPF: load the call's number, compare, answer."""
    rows = [(_LOAD, 0, 0, 0)]
    for index, call in enumerate(calls):
        rows.append((_JUMP_IF_EQUAL, len(calls) - index, 0, call))
    rows += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _SUCCEED)]
    return b"".join(struct.pack("=HBBI", *row) for row in rows)


def pretend() -> None:
    """Let this process and its children change users in vain; there is no way back."""
    program = _program(_CALLS[platform.machine()])
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: the number of 8-byte rows, and (aligned) where they are.
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or prctl(
        _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.c_char_p(header), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "cannot install a seccomp filter")


if __name__ == "__main__":
    pretend()
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - becoming that program is the point
