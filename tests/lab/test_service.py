"""Starting and stopping a server program; this one is a shell that touches a file."""

from pathlib import Path

import pytest

from sallyport.errors import StartupError
from sallyport.lab.host import Host
from sallyport.lab.network import Lab
from sallyport.lab.service import Service

pytestmark = pytest.mark.netns

# It ignores nobody and serves nothing: it is there until it is told to stop.
COMES_UP = 'echo ready; touch "$0"; exec sleep 60'


class Shell(Service):
    def __init__(
        self, script: str, host: Host, folder: Path, *, missing: str | None = None
    ) -> None:
        self.script = script
        super().__init__("shell", host, folder, missing=missing)

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def _command(self) -> list[str]:
        return ["sh", "-c", self.script, str(self.folder / "up")]

    def _answers(self) -> bool:
        return (self.folder / "up").exists()


def test_a_service_answers_once_it_is_made_and_runs_until_it_is_stopped(
    lab: Lab, tmp_path: Path
) -> None:
    service = Shell(COMES_UP, lab.server, tmp_path / "files")
    assert (service.folder / "up").exists()
    assert service.is_running

    service.stop()
    service.stop()
    assert not service.is_running


def test_the_log_of_a_service_lies_beside_its_folder(lab: Lab, tmp_path: Path) -> None:
    service = Shell(COMES_UP, lab.server, tmp_path / "files")
    service.stop()

    assert (tmp_path / "files.shell.log").read_text(encoding="ascii") == "ready\n"


def test_a_service_that_cannot_be_run_here_is_not_started(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="shell: not installed"):
        Shell(COMES_UP, lab.server, tmp_path / "files", missing="shell: not installed")

    assert not (tmp_path / "files" / "up").exists()
    assert not (tmp_path / "files.shell.log").exists()


def test_a_service_that_does_not_come_up_is_quoted(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="shell does not start: bad option"):
        Shell("echo bad option; exit 2", lab.server, tmp_path / "files")
