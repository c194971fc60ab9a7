"""Questions about tables as nft asks them, and the kernel's notice of a transaction."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.errors import ProtocolError
from sallyport.wire import netlink, ruleset
from sallyport.wire.netlink import Message
from sallyport.wire.ruleset import RulesetChange

# NFT_MSG_NEWGEN as a kernel sent it when `nft add table` ran as process 1048.
NOTICE = bytes.fromhex(
    "2c000000 0f0a 0000 01000000 18040000  00000002"
    "08000100 00000002  08000200 00000418  08000300 6e667400"
)


def test_the_owner_of_a_table_is_read_and_nobody_is_none() -> None:
    name = netlink.text(1, "sallyport_pins")
    owner = netlink.attribute(7, (5362).to_bytes(4, "big"))

    assert ruleset.table_owner(bytes(4) + name + owner) == 5362
    assert ruleset.table_owner(bytes(4) + name) is None


def test_a_table_is_asked_for_by_name() -> None:
    assert ruleset.get_table("t", 5) == bytes.fromhex(
        "1c000000 010a 0100 05000000 00000000 01000000 0600 0100 7400 0000"
    )


@pytest.mark.parametrize(
    ("request_", "kind", "attributes"),
    [
        pytest.param(ruleset.list_chains(5), 4, {}, id="chains of all tables"),
        pytest.param(ruleset.list_rules("t", 5), 7, {1: b"t\0"}, id="rules of one table"),
    ],
)
def test_a_list_is_asked_for_as_a_dump_of_family_inet(
    request_: bytes, kind: int, attributes: dict[int, bytes]
) -> None:
    [message] = netlink.messages(request_)

    # linux/netfilter/nfnetlink.h: the subsystem, 10 for nftables, stands above the operation.
    assert (message.kind, message.sequence) == (10 << 8 | kind, 5)
    assert message.flags == netlink.FLAG_REQUEST | netlink.FLAG_DUMP
    assert message.payload[:4] == bytes((1, 0, 0, 0))
    assert dict(netlink.attributes(message.payload[4:])) == attributes


def test_what_is_of_another_table_has_no_body_here() -> None:
    ours, longer = netlink.text(1, "pins"), netlink.text(1, "pins2")
    rest = netlink.attribute(3, b"rule")

    assert ruleset.body_in("pins", bytes(4) + ours + rest) == ours + rest
    assert ruleset.body_in("pins", bytes(4) + longer + rest) == b""


def test_the_body_of_a_rule_stays_the_same_when_the_generation_of_the_rules_changes() -> None:
    body = netlink.text(1, "pins") + netlink.attribute(3, b"rule")

    assert ruleset.body_in("pins", bytes((1, 0, 0, 7)) + body) == ruleset.body_in(
        "pins", bytes((1, 0, 0, 8)) + body
    )


@given(st.binary(max_size=100))
def test_any_bytes_are_a_table_or_a_protocol_error(data: bytes) -> None:
    try:
        ruleset.table_owner(data)
    except ProtocolError as error:
        assert error.code == "protocol-error"  # noqa: PT017


def test_the_notice_of_a_transaction_names_the_process_that_made_it() -> None:
    [message] = netlink.messages(NOTICE)
    change = ruleset.read_change(message)

    assert change == RulesetChange("nft", 1048)
    assert str(change) == "nft (pid 1048)"


def test_other_messages_are_no_notice() -> None:
    assert ruleset.read_change(Message(10 << 8 | 6, 0, 0, bytes(4))) is None


@given(st.binary(max_size=60))
def test_any_bytes_are_a_notice_or_a_protocol_error(data: bytes) -> None:
    try:
        ruleset.read_change(Message(10 << 8 | 15, 0, 0, data))
    except ProtocolError as error:
        assert error.code == "protocol-error"  # noqa: PT017
