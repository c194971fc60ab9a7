"""The program on the lab's gateway: Sallyport, or plain masquerading to compare with."""

import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from sallyport.errors import OperatorError
from sallyport.lab.host import READY_SECONDS, Host, end, wait_until
from sallyport.lab.network import Lab
from sallyport.ops.control.client import request

# What transfers get to finish after the first signal; and after the second, which resets them.
_STOP_SECONDS = (1.0, 8.0)

# What a NAT router does by itself: it lets out everything, and the answers in. IPv6 is routed, and
# as closed to new flows from outside, or active FTP would need no gateway there.
_PLAIN_NAT = """\
table inet plain {
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    iifname "int0" oifname "ext0" accept
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    iifname "int0" oifname "ext0" meta nfproto ipv4 masquerade
  }
}
"""


def forward(gateway: Host) -> None:
    """Let the kernel forward between the gateway's interfaces, both families."""
    gateway.sysctl("net.ipv4.ip_forward", 1)
    gateway.sysctl("net.ipv6.conf.all.forwarding", 1)


def plain_nat(gateway: Host) -> None:
    """Make a host the usual NAT router of a home: no helper, no Sallyport."""
    forward(gateway)
    gateway.run(["nft", "-f", "-"], stdin=_PLAIN_NAT)


def end_plain_nat(gateway: Host) -> None:
    """Undo `plain_nat`, except that the kernel goes on forwarding."""
    gateway.run(["nft", "delete table inet plain"])


def sallyport() -> list[str]:
    """Return the command line of the `sallyport` that belongs to this interpreter."""
    return [sys.executable, "-c", "import sys, sallyport.cli; sys.exit(sallyport.cli.main())"]


class _Load(Struct):
    """The part of the status that the lab needs; other fields may come and go."""

    controls: int
    bindings: int


class RunningGateway:
    """Sallyport on the lab's gateway host; it answers on `control_socket`."""

    def __init__(
        self,
        lab: Lab,
        arguments: Sequence[str] = (),
        *,
        name: str = "gateway",
        wrapper: Sequence[str] = (),
        host: Host | None = None,
        seconds: float = READY_SECONDS,
    ) -> None:
        """Start `sallyport run` on the lab's gateway, or on `host`, the other one of a pair.

        `arguments` stand instead of the lab's two interfaces.

        `wrapper` is a command that runs another, such as setpriv with fewer capabilities.
        `control_socket` and `log` lie in the lab's folder under `name`. Raises StartupError with
        the end of the log when the gateway does not answer there after `seconds`.
        """
        self.host = host or lab.gateway
        self.control_socket = lab.folder / f"{name}.sock"
        self.log = lab.folder / f"{name}.log"
        networks = arguments or ("--internal", "int0", "--external", "ext0")
        argv = [*wrapper, *sallyport(), "run", *networks]
        argv += ["--control-socket", str(self.control_socket)]
        self.process = self.host.popen(argv, log=self.log)
        try:
            otherwise = "the gateway does not start"
            wait_until(self.process, self._answers, self.log, otherwise, seconds)
        except BaseException:
            end(self.process)
            raise

    def _answers(self) -> bool:
        # It listens before it works, to keep a second instance away: we wait for an answer.
        try:
            self._status()
        except OperatorError:
            return False
        return True

    def _status(self) -> _Load:
        return request(self.control_socket, "status", expect=_Load)

    def settle(self) -> None:
        """Return once no control connection and no binding is left.

        Raises StartupError when there still is one after `READY_SECONDS`.
        """
        wait_until(self.process, self._is_idle, self.log, "the gateway does not come to rest")

    def _is_idle(self) -> bool:
        status = self._status()
        return status.controls == status.bindings == 0

    def ask(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run another `sallyport` verb against this gateway, such as `bindings list --json`."""
        argv = [*sallyport(), *arguments, "--control-socket", str(self.control_socket)]
        return self.host.run(argv, check=False)

    def journal(self, skip: int = 0) -> list[str]:
        """Return the whole lines of the log, without the first `skip`."""
        text = Path(self.log).read_text(encoding="utf-8", errors="replace")
        return text[: text.rfind("\n") + 1].splitlines()[skip:]

    def stop(self) -> int:
        """Stop the gateway, with its transfers when they take long; return its exit code.

        Idempotent.
        """
        for seconds in _STOP_SECONDS:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
                break
        end(self.process)
        return self.process.returncode

    def kill(self) -> None:
        """End the gateway as an accident does."""
        self.process.kill()
        self.process.wait()
