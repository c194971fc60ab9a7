"""The EICAR example: nobody gets the test string by FTP, and the client hears why."""

import pytest
from examples.block_eicar.block_eicar import SIGNATURE, BlockEicar

from sallyport.filters.ftp import FtpFilter
from sallyport.testing import Dialogue, Transfer

TOLD = b"451 Blocked by the gateway: EICAR test string.\r\n"
PEER = {4: "203.0.113.9:20", 6: "[2001:db8::9]:20"}
LISTEN = {4: "203.0.113.1:40271", 6: "[fd00:a::8]:1553"}
PORT = {4: b"PORT 10,0,0,8,6,17\r\n", 6: b"EPRT |2|fd00:a::8|1553|\r\n"}
HEARD = {4: b"PORT 203,0,113,1,157,79\r\n", 6: b"EPRT |2|fd00:a::8|1553|\r\n"}


def download(version: int = 4) -> tuple[Dialogue, Transfer]:
    talk = Dialogue(FtpFilter(), version=version, others=[BlockEicar()])
    talk.server_says(b"220 ready\r\n").client_hears(b"220 ready\r\n")
    talk.client_says(PORT[version]).server_hears(HEARD[version])
    talk.server_says(b"200 ok\r\n").client_hears(b"200 ok\r\n")
    talk.client_says(b"RETR file\r\n").server_hears(b"RETR file\r\n")
    talk.server_says(b"150 here\r\n").client_hears(b"150 here\r\n")
    return talk, talk.transfer(PEER[version], LISTEN[version])


@pytest.mark.parametrize("version", [4, 6])
def test_the_client_never_gets_the_string_and_hears_why(version: int) -> None:
    talk, transfer = download(version)

    transfer.peer_says(b"harmless, then " + SIGNATURE).client_hears()
    talk.server_says(b"226 done\r\n").client_hears(TOLD).pinholes().still_open()


@pytest.mark.parametrize("split", range(1, len(SIGNATURE)))
def test_no_split_hides_it(split: int) -> None:
    talk, transfer = download()

    transfer.peer_says(b"x" + SIGNATURE[:split], SIGNATURE[split:])
    assert SIGNATURE[:split] not in transfer.client_end.take()
    talk.server_says(b"426 cut\r\n").client_hears(TOLD)


def test_what_only_begins_like_it_arrives_whole() -> None:
    talk, transfer = download()

    transfer.peer_says(SIGNATURE[:40]).client_hears()
    transfer.peer_says(b"!" + SIGNATURE[:5]).client_hears(SIGNATURE[:40] + b"!")
    transfer.peer_closes().client_hears(SIGNATURE[:5]).client_hears_end()
    transfer.client_closes()
    talk.server_says(b"226 done\r\n").client_hears(b"226 done\r\n")


def test_it_is_not_uploaded_either() -> None:
    talk, transfer = download()

    transfer.client_says(SIGNATURE).peer_hears()
    talk.server_says(b"226 done\r\n").client_hears(TOLD)
