"""A telephone in the lab by a second stack: Net::SIP, which shares no code with baresip."""

import shutil
import socket
import subprocess
from pathlib import Path

from sallyport.lab.host import Host
from sallyport.lab.service import Service
from sallyport.lab.sip import PASSWORD, PORT, Subscriber, written

_PROGRAM = Path(__file__).with_suffix(".pl")

# As `sallyport.lab.sip` has it: what does not come within this time does not come.
_PATIENCE = 10.0


def why_no_net_sip() -> str | None:
    """Return why it cannot run here; None when it can."""
    if shutil.which("perl") is None:
        return "perl: not installed"
    loads = subprocess.run(["perl", "-MNet::SIP", "-e", "1"], check=False, capture_output=True)
    return "Net::SIP: not installed (scripts/bootstrap does it)" if loads.returncode else None


class NetSipTelephone(Service):
    """A running telephone that is registered, takes each call at once, and calls when it is told.

    It speaks SIP at port 5060 of its host and takes media at `ports`.
    """

    def __init__(self, host: Host, folder: Path, subscriber: Subscriber, *, ports: range) -> None:
        """Start and register it, by the transport of `subscriber` and the provider's IP version.

        Raises StartupError when it cannot be run, TimeoutError when the provider does not answer.
        """
        self._subscriber = subscriber
        self._ports = ports
        self.address = host.address(subscriber.provider.version)
        self._control = socket.socket(socket.AF_UNIX)
        self._words = self._control.makefile("r", encoding="ascii")
        super().__init__("net-sip", host, folder, missing=why_no_net_sip())
        self.hears("registered")

    def _command(self) -> list[str]:
        own, provider = written(self.address), written(self._subscriber.provider)
        places = [f"{own}:{PORT}", f"{provider}:{PORT}"]
        who = [self._subscriber.user, PASSWORD]
        ports = [str(self._ports[0]), str(self._ports[-1])]
        socket_file = str(self.folder / "control")
        transport = self._subscriber.transport
        return ["perl", str(_PROGRAM), socket_file, transport, *places, *who, *ports]

    def _answers(self) -> bool:
        try:
            self._control.connect(str(self.folder / "control"))
        except OSError:
            return False
        self._control.settimeout(_PATIENCE)
        return True

    def stop(self) -> None:
        """End it as a power cut does; idempotent."""
        self._words.close()
        self._control.close()
        super().stop()

    def dial(self, subscriber: Subscriber) -> None:
        """Call a subscriber; `hears("ringing")` says that it rings there."""
        self._tell(f"dial {subscriber.uri}")

    def hang_up(self) -> None:
        """End the call, and wait until the far side has agreed."""
        self._tell("hangup")
        self.hears("closed")

    def hears(self, wanted: str) -> None:
        """Return once this has happened, of the words that `net_sip.pl` writes.

        Raises TimeoutError, with what happened instead.
        """
        passed: list[str] = []
        try:
            while (word := self._words.readline().strip()) != wanted:
                passed.append(word)
                if not word:
                    raise TimeoutError  # noqa: TRY301 - it has ended
        except TimeoutError:
            raise TimeoutError(f"no {wanted} at {self.address}, but: {', '.join(passed)}") from None

    def _tell(self, line: str) -> None:
        self._control.sendall(f"{line}\n".encode("ascii"))
