"""Set elements: the bytes that nft itself sends, row by row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.addresses import Endpoint
from sallyport.wire import netlink, nftset


def rows(text: str) -> bytes:
    """Bytes from rows of hex, with a comment behind each."""
    return bytes.fromhex("".join(row.partition("#")[0] for row in text.splitlines()))


def test_a_key_is_address_protocol_and_port_each_padded_to_four_bytes() -> None:
    assert nftset.service_key(6, 40000) == bytes.fromhex("06000000 9c400000")


def test_map_data_is_address_and_port() -> None:
    data = nftset.endpoint_data(Endpoint.parse("[2001:db8::9]:1553"))

    assert data == bytes.fromhex("20010db8000000000000000000000009 06110000")


def test_a_mark_is_in_host_order() -> None:
    assert nftset.mark_value(0x80000001) == bytes.fromhex("01000080")


def test_an_element_is_the_nest_of_attributes_that_nft_writes() -> None:
    value = netlink.attribute(1, bytes(8))
    data = netlink.attribute(1, bytes(4))

    assert nftset.element(bytes(8)) == netlink.nested(1, netlink.nested(1, value))
    assert nftset.element(bytes(8), bytes(4)) == netlink.nested(
        1, netlink.nested(1, value), netlink.nested(2, data)
    )


def test_a_range_has_both_ends_and_is_named_by_them() -> None:
    # nft add element … wide4 { 10.0.0.0-10.0.0.255 : 0x80000001 }, the address alone
    first, last = bytes.fromhex("0a000000"), bytes.fromhex("0a0000ff")

    assert nftset.element((first, last), nftset.mark_value(0x80000001)) == rows(
        """
        2800 0180
          0c00 0180  0800 0100 0a000000     # first
          0c00 0a80  0800 0100 0a0000ff     # last
          0c00 0280  0800 0100 01000080     # data
        """
    )
    assert nftset.element((first, last)) == rows(
        "1c00 0180  0c00 0180 0800 0100 0a000000  0c00 0a80 0800 0100 0a0000ff"
    )


def test_a_batch_adds_exclusively_and_asks_for_an_acknowledgement() -> None:
    # nft add element inet sallyport_pins any4 { 203.0.113.1 . tcp . 40000 : 0x80000001 }
    key = bytes.fromhex("cb007101") + nftset.service_key(6, 40000)
    element = nftset.element(key, nftset.mark_value(0x80000001))

    assert nftset.batch("sallyport_pins", (), [("any4", [element])], 7) == rows(
        """
        14000000 1000 0100 07000000 00000000 00 00 000a        # begin, for nftables
        5c000000 0c0a 0506 07000000 00000000 01 00 0000        # new elements; inet
          1300 0100 73616c6c79706f72745f70696e7300 00          # table
          0900 0200 616e793400 000000                          # set
          2800 0380                                            # elements
            2400 0180                                          # one
              1400 0180  1000 0100 cb007101 06000000 9c400000  # key
              0c00 0280  0800 0100 01000080                    # data
        14000000 1100 0100 07000000 00000000 00 00 000a        # end
        """
    )


def test_a_batch_deletes_by_key() -> None:
    # nft delete element inet sallyport_pins once { 0x80000001 }
    element = nftset.element(nftset.mark_value(0x80000001))

    assert nftset.batch("sallyport_pins", [("once", [element])], (), 8) == rows(
        """
        14000000 1000 0100 08000000 00000000 00 00 000a
        48000000 0e0a 0500 08000000 00000000 01 00 0000
          1300 0100 73616c6c79706f72745f70696e7300 00
          0900 0200 6f6e636500 000000
          1400 0380  1000 0180  0c00 0180  0800 0100 01000080
        14000000 1100 0100 08000000 00000000 00 00 000a
        """
    )


def test_only_the_last_of_several_messages_asks_for_the_acknowledgement() -> None:
    element = nftset.element(nftset.mark_value(1))
    changes = [("many", [element]), ("once", [element]), ("empty", [])]

    messages = list(netlink.messages(nftset.batch("t", changes, changes, 3)))

    assert [bool(message.flags & netlink.FLAG_ACK) for message in messages] == [
        False, False, False, False, True, False,
    ]  # fmt: skip
    # What is to go goes first: an element may come back with another value.
    assert [message.kind & 0xFF for message in messages[1:-1]] == [14, 14, 12, 12]
    assert {message.sequence for message in messages} == {3}


@pytest.mark.parametrize(("count", "expected"), [(512, 1), (513, 2), (2000, 4)])
def test_a_list_of_elements_never_outgrows_its_length_field(count: int, expected: int) -> None:
    widest = nftset.element((bytes(44), bytes(44)), bytes(4))

    messages = list(netlink.messages(nftset.batch("t", (), [("wide6", [widest] * count)], 1)))

    assert len(messages) == expected + 2


@given(st.integers(0, 2**32 - 1), st.integers(0, 65535), st.binary(min_size=4, max_size=4))
def test_what_is_written_can_be_read_back(mark: int, port: int, address: bytes) -> None:
    key = address + nftset.service_key(6, port)
    element = nftset.element(key, nftset.mark_value(mark))

    ((kind, body),) = netlink.attributes(element)
    (_, key_nest), (_, data_nest) = netlink.attributes(body)

    assert kind == 1
    assert list(netlink.attributes(key_nest)) == [(1, key)]
    assert list(netlink.attributes(data_nest)) == [(1, mark.to_bytes(4, "little"))]


def test_elements_are_asked_for_by_their_keys() -> None:
    # nft get element inet t s { 1 }
    assert nftset.question("t", "s", [bytes.fromhex("00000001")], 7) == rows(
        """
        38000000 0d0a 0100 07000000 00000000  01 00 0000   # NFT_MSG_GETSETELEM, inet
        0600 0100 7400 0000                                # table
        0600 0200 7300 0000                                # set
        1400 0380  1000 0180  0c00 0180  0800 0100 00000001
        """
    )


def test_an_answer_says_how_many_bytes_and_how_long_still() -> None:
    # Of a set with a quota and a time limit, on Linux 6.18: 180 bytes of 10**15, 299.668 s.
    quota = netlink.nested(
        2,
        netlink.attribute(1, (10**9 << 20).to_bytes(8, "big")),
        netlink.attribute(2, bytes(4)),
        netlink.attribute(4, (180).to_bytes(8, "big")),
    )
    expression = netlink.nested(7, netlink.attribute(1, b"quota\0"), quota)
    left = netlink.attribute(5, (299_668).to_bytes(8, "big"))
    key = netlink.nested(1, netlink.attribute(1, bytes(4)))
    names = netlink.text(1, "t") + netlink.text(2, "s")

    def answer(*attributes: bytes) -> nftset.ElementState | None:
        listed = netlink.nested(3, netlink.nested(1, *attributes))
        data = netlink.message(0x0A0C, 0, 7, netlink.Family.INET, names + listed)
        (message,) = netlink.messages(data)
        return nftset.read_state(message)

    assert answer(key, left, expression) == (180, 299_668)
    assert answer(key) == (0, None)


def test_what_is_no_element_says_nothing() -> None:
    (message,) = netlink.messages(netlink.plain_message(2, 0, 7, bytes(20)))

    assert nftset.read_state(message) is None
