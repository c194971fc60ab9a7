from ftplib import FTP

import pytest

from sallyport.errors import StartupError
from sallyport.lab.network import Lab
from sallyport.lab.servers import SOFTWARE, FtpServer, why_not

pytestmark = [pytest.mark.netns, pytest.mark.interop]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("software", SOFTWARE)
def test_each_server_serves_its_folder_in_both_families(
    software: str, family: int, lab: Lab
) -> None:
    reason = why_not(software)
    if reason:
        pytest.skip(reason)
    server = FtpServer(software, lab.server, lab.folder / "files", port=2121)
    (server.folder / "here.txt").write_text("x", encoding="ascii")
    account = server.account(family)
    try:
        with lab.stranger.entered(), FTP(timeout=5) as ftp:  # noqa: S321 - FTP is the subject
            ftp.connect(str(account.address), account.port)
            ftp.login(account.user, account.password)
            assert "here.txt" in ftp.nlst()
            ftp.mkd("made")
        assert (server.folder / "made").is_dir()
        (server.folder / "made").rmdir()
    finally:
        server.stop()


def test_a_server_that_is_not_installed_says_how_to_get_it(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(StartupError, match=r"vsftpd: not installed \(scripts/bootstrap"):
        FtpServer("vsftpd", lab.server, lab.folder / "files")


def test_a_server_that_does_not_come_up_is_quoted(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sallyport.lab.servers.why_not", lambda _software: None)
    monkeypatch.setitem(SOFTWARE, "vsftpd", lambda _server: ["sh", "-c", "echo bad option; exit 2"])
    with pytest.raises(StartupError, match="does not start: bad option"):
        FtpServer("vsftpd", lab.server, lab.folder / "files", port=2122)
