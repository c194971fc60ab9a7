"""The hashing example: the journal has every transfer's hash, and what asked for it."""

import hashlib

from examples.hash_transfers.hash_transfers import HashTransfers

from sallyport.filters.ftp import FtpFilter
from sallyport.testing import Dialogue

PEER, LISTEN = "203.0.113.9:20", "203.0.113.1:40271"


def asked_for(command: bytes) -> Dialogue:
    talk = Dialogue(FtpFilter(), others=[HashTransfers()])
    talk.server_says(b"220 ready\r\n").client_says(b"PORT 10,0,0,8,6,17\r\n")
    talk.server_says(b"200 ok\r\n").client_says(command)
    return talk


def hashed(talk: Dialogue) -> list[dict[str, object]]:
    records = talk.world.journal.records
    return [fields for event, fields in records if event == "transfer.hashed"]


def test_a_download_is_hashed_with_the_command_that_caused_it() -> None:
    talk = asked_for(b"RETR setup.iso\r\n")
    transfer = talk.transfer(PEER, LISTEN).peer_says(b"to the ", b"client")
    transfer.client_hears(b"to the client").peer_closes().client_closes()

    (found,) = hashed(talk)
    assert (found["command"], found["argument"]) == ("RETR", "setup.iso")
    assert (found["bytes"], found["complete"]) == (13, True)
    assert found["sha256"] == hashlib.sha256(b"to the client").hexdigest()


def test_an_upload_is_hashed_as_well() -> None:
    talk = asked_for(b"STOR notes\r\n")
    transfer = talk.transfer(PEER, LISTEN).client_says(b"from the client")
    transfer.peer_hears(b"from the client").client_closes().peer_closes()

    (found,) = hashed(talk)
    assert (found["command"], found["argument"]) == ("STOR", "notes")
    assert found["sha256"] == hashlib.sha256(b"from the client").hexdigest()


def test_a_transfer_that_was_cut_is_not_complete() -> None:
    talk = asked_for(b"RETR setup.iso\r\n")
    talk.transfer(PEER, LISTEN).peer_says(b"half").resets()

    (found,) = hashed(talk)
    assert (found["bytes"], found["complete"]) == (4, False)
