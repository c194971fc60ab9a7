"""Install and remove our tables with nft, and own the pins table through nft's own socket.

Only the netlink socket that made an owned table may change it. nft makes the table from text; we
take a duplicate of the socket it did that with (pidfd_getfd) and speak raw batches on it. So rules
stay text, elements stay fast, and nothing is linked: nft is a program we run.
"""

import ctypes
import os
import re
import select
import socket
import subprocess
import time
from typing import Final

from sallyport.errors import KernelError, StartupError
from sallyport.kernel import netlink_socket
from sallyport.kernel.quiet import QUIET
from sallyport.wire import netlink, nftset

# nft answers within 15 ms; a machine that needs longer than this is not going to answer.
NFT_SECONDS = 10.0

# The same number on every architecture (since Linux 5.6); Python 3.11 has no wrapper for it.
_SYS_PIDFD_GETFD: Final = 438


def load(script: str) -> None:
    """Run a script in one nft transaction; raises StartupError with nft's first complaint."""
    try:
        with QUIET.asked():
            done = subprocess.run(
                ["nft", "-f", "-"],
                input=script.encode(),
                capture_output=True,
                timeout=NFT_SECONDS,
                check=False,
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StartupError(f"nft does not run: {error}") from None
    if done.returncode:
        raise StartupError(f"nft refused our table: {_complaint(done.stderr)}")


def claim(script: str, table: str) -> socket.socket:
    """Run a script that makes an owned table and give the socket that owns it, not blocking.

    The table lives as long as the socket. Raises StartupError when nft refuses (the table exists,
    the kernel is too old) or its socket cannot be taken.
    """
    script_fd = os.memfd_create("sallyport-pins", os.MFD_CLOEXEC)
    try:
        os.write(script_fd, script.encode())
        with QUIET.asked():
            return _claim_from(script_fd, table)
    finally:
        os.close(script_fd)


def _claim_from(script_fd: int, table: str) -> socket.socket:
    try:
        child = subprocess.Popen(
            ["nft", "-i"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(script_fd,),
        )
    except OSError as error:
        raise StartupError(f"nft does not run: {error}") from None
    with child:
        assert child.stdin is not None  # noqa: S101 - asked for above
        assert child.stdout is not None  # noqa: S101
        try:
            # A line at a time is all that `nft -i` reads from a pipe; a file may have many.
            request = f'include "/proc/self/fd/{script_fd}"\nlist tables inet\n'
            child.stdin.write(request.encode())
            child.stdin.flush()
            _await_table(child.stdout.fileno(), table)
            return _take_socket(child.pid)
        finally:
            # Closing its input ends nft; it is killed only if that does not.
            child.stdin.close()
            try:
                child.wait(NFT_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()


def _await_table(output: int, table: str) -> None:
    listed = f"table inet {table}\n".encode()
    said = b""
    deadline = time.monotonic() + NFT_SECONDS
    # To the end of its line: output comes in pieces.
    while not re.search(rb"Error: .*\n", said):
        # Errors come before the listing: only a clean one means that the table is ours.
        if listed in said:
            return
        readable, _, _ = select.select([output], [], [], deadline - time.monotonic())
        chunk = os.read(output, netlink_socket.RECEIVE_SIZE) if readable else b""
        if not chunk:
            raise StartupError(f"nft made no table {table}: {_complaint(said)}")
        said += chunk
    raise StartupError(f"nft refused table {table}: {_complaint(said)}")


def _complaint(output: bytes) -> str:
    lines = output.decode(errors="replace").splitlines()
    return next(
        (line for line in lines if "Error: " in line), lines[0] if lines else "no reason given"
    )


def _take_socket(pid: int) -> socket.socket:
    links = ((fd, os.readlink(f"/proc/{pid}/fd/{fd}")) for fd in os.listdir(f"/proc/{pid}/fd"))
    numbers = [int(fd) for fd, target in links if target.startswith("socket:")]
    if len(numbers) != 1:
        raise StartupError(f"nft holds {len(numbers)} sockets, not one; we cannot own its table")
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(pid)
    try:
        taken = libc.syscall(_SYS_PIDFD_GETFD, pidfd, numbers[0], 0)
    finally:
        os.close(pidfd)
    if taken < 0:
        reason = os.strerror(ctypes.get_errno())
        raise StartupError(
            f"cannot take nft's socket ({reason}): is kernel.yama.ptrace_scope 3, or pidfd_getfd"
            " forbidden to this container or unit?"
        )
    sock = socket.socket(fileno=taken)
    sock.set_inheritable(False)
    sock.settimeout(0)
    return sock


class OwnedTable:
    """The pins table while it is ours: batches of elements in, errors out."""

    def __init__(self, name: str, owner: socket.socket) -> None:
        self._name = name
        self._socket = owner
        self._sequence = nftset.SEQUENCES.start

    def change(self, removed: nftset.Changes, added: nftset.Changes) -> None:
        """Delete and then add elements, all or none; no change asks nothing of the kernel.

        Raises KernelError with the first errno: ENOENT when one to delete is missing, EEXIST when
        one to add is there.
        """
        if not removed and not added:
            return
        # The last answer of 65 000 batches ago is not waiting any more.
        following = self._sequence + 1
        self._sequence = following if following in nftset.SEQUENCES else nftset.SEQUENCES.start
        batch = nftset.batch(self._name, removed, added, self._sequence)
        QUIET.heed()
        self._commit("change elements", batch)

    def close(self) -> None:
        """Let go: the kernel removes the table and all its elements at once."""
        self._socket.close()

    def _commit(self, operation: str, batch: bytes) -> None:
        try:
            self._socket.send(batch)
        except OSError as error:
            raise KernelError(operation, error.errno or 0, "the batch was not taken") from error
        # The kernel has worked the batch off before send() returns, and what went wrong comes
        # before the acknowledgement of the last message: one look is enough when all is well.
        errno = self._next_errno()
        if errno == 0:
            return
        failure = errno
        while errno is not None:
            failure = failure or errno
            errno = self._next_errno()
        raise KernelError(operation, failure or 0, "no answer" if failure is None else "")

    def _next_errno(self) -> int | None:
        """Read the next answer to the batch under way; None when there is none left."""
        while True:
            try:
                data = self._socket.recv(netlink.VERDICT_SIZE)
            except BlockingIOError:
                return None
            # Other answers belong to nft's conversation before the socket was ours.
            verdict = netlink.verdict(data, self._sequence)
            if verdict is not None:
                return verdict
