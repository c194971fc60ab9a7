from ipaddress import ip_address
from pathlib import Path

import pytest

from sallyport.lab.clients import (
    CLIENTS,
    Job,
    Mode,
    TransferDirection,
    TransferOutcome,
    digest,
    transfer,
)
from sallyport.lab.network import Lab
from sallyport.lab.servers import Account


def test_a_command_counts_as_used_only_where_the_client_sent_it() -> None:
    said = "< 211- EPRT EPSV\n> PORT 10,0,0,8,6,17\n"

    assert TransferOutcome("", said).used(Mode.PORT)
    assert not TransferOutcome("", said).used(Mode.EPRT)
    assert TransferOutcome("", "---> EPSV 2\n").used(Mode.EPSV)
    assert TransferOutcome("", "*cmd* 'PASV'\n").used(Mode.PASV)


def test_an_url_brackets_an_ipv6_address() -> None:
    account = Account(ip_address("2001:db8::9"), 21, "lab", "secret")
    job = Job(account, Mode.EPSV, TransferDirection.DOWNLOAD, "a.bin", Path("a.bin"))

    assert job.url == "ftp://lab:secret@[2001:db8::9]:21/a.bin"


def test_a_missing_file_has_no_digest_and_an_empty_one_has(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()

    assert digest(tmp_path / "missing") == "absent"
    assert digest(tmp_path / "empty") == (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


@pytest.mark.netns
@pytest.mark.interop
@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_that_reaches_nobody_reports_an_error(
    client: str, lab: Lab, tmp_path: Path
) -> None:
    # Nobody listens on port 9.
    account = Account(lab.server.address4, 9, "x", "y")
    job = Job(account, Mode.PASV, TransferDirection.DOWNLOAD, "f", tmp_path / "f", timeout=10)

    outcome = transfer(client, lab.stranger, job)

    assert outcome.error.startswith((client, "/"))
