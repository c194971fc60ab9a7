"""A server program in the lab: started on a host, waited for, stopped."""

from abc import ABC, abstractmethod
from pathlib import Path

from sallyport.errors import StartupError
from sallyport.lab.host import Host, end, wait_until


class Service(ABC):
    """A running server program; `folder` is what it serves, its log lies beside that."""

    def __init__(self, software: str, host: Host, folder: Path, *, missing: str | None) -> None:
        """Start `software` on a host; it answers when this returns.

        Raises StartupError: with `missing`, the reason why it cannot be run here, or, with the end
        of its log, when it does not come up.
        """
        self.software = software
        self.host = host
        self.folder = folder
        self.log = folder.with_name(f"{folder.name}.{software}.log")
        folder.mkdir(exist_ok=True)
        if missing is not None:
            raise StartupError(missing)
        self._process = host.popen(self._command(), log=self.log)
        try:
            wait_until(self._process, self._answers, self.log, f"{software} does not start")
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """The process that takes clients."""
        return self._process.pid

    def stop(self) -> None:
        """Stop taking clients; its child processes end with the lab at the latest. Idempotent."""
        end(self._process)

    @abstractmethod
    def _command(self) -> list[str]:
        """Write its configuration and return its command line."""

    @abstractmethod
    def _answers(self) -> bool:
        """Return whether it serves clients by now."""
