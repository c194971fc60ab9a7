import socket

from sallyport.flags import BindFlags, ConnectionFlags, Transport

# The SDK's names, without their prefix (FWX_INCREASE_RECEIVE_BUFFER has no FLAG in it).
SDK = [
    "ALLOW_MULTIPLE",
    "TIMEOUT",
    "NO_KERNEL_MODE",
    "BIDIRECTIONAL",
    "PROXY_MODE",
    "ALLOW_ADDRESSES_IN_CLASS_C_NETWORK",
    "ALLOW_ADDRESSES_IN_NETWORK",
    "ALLOW_ADDRESSES_ALL",
    "INCREASE_RECEIVE_BUFFER",
]


def test_every_flag_of_the_sdk_is_there_under_its_name_and_no_other() -> None:
    assert [flag.name for flag in BindFlags] == SDK


def test_flags_are_bits_of_their_own() -> None:
    union = BindFlags.NONE
    for flag in BindFlags:
        assert flag not in union
        union |= flag
    assert all(flag in union for flag in BindFlags)
    assert not BindFlags.NONE


WORDS = {
    "is_multiple": BindFlags.ALLOW_MULTIPLE,
    "is_timed": BindFlags.TIMEOUT,
    "is_user_mode": BindFlags.NO_KERNEL_MODE,
    "is_bidirectional": BindFlags.BIDIRECTIONAL,
    "is_proxied": BindFlags.PROXY_MODE,
    "is_roomy": BindFlags.INCREASE_RECEIVE_BUFFER,
}


def test_a_word_says_whether_its_flag_is_among_them() -> None:
    for flags in map(BindFlags, range(1 << len(SDK))):
        for word, flag in WORDS.items():
            assert getattr(flags, word) is (flag in flags)


def test_transports_are_numbered_as_on_the_wire() -> None:
    assert (Transport.TCP, Transport.UDP) == (socket.IPPROTO_TCP, socket.IPPROTO_UDP)


def test_a_connection_is_in_full_proxy_or_plain() -> None:
    assert [flag.name for flag in ConnectionFlags] == ["INTERNAL_ADDRESS_TRANSLATION"]
    assert not ConnectionFlags.NONE
