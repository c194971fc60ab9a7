import re
from ipaddress import ip_address

import pytest

from sallyport.errors import ProtocolError
from sallyport.wire.patterns import (
    AddressFormat,
    aligned_run,
    compile_pattern,
    ports_of,
    splice,
)


def matched(pattern: str, text: bytes) -> "re.Match[bytes]":
    found = compile_pattern(pattern).match(text)
    assert found is not None
    return found


# -- patterns -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern",
    [
        "(?i)PORT (?P<port>[0-9]{1,5})(,|$)",
        r"a\)+ [)*]+ []()*]+ [^])+]* (?P<address>.+)(-(?P<port>x))?",
        "(?:a|b)?(?=c)(?!d)(e)??",
    ],
)
def test_patterns_that_take_bounded_time_are_compiled(pattern: str) -> None:
    assert compile_pattern(pattern).pattern == pattern.encode()


@pytest.mark.parametrize("pattern", ["(a+)+", "(a|a)*b", "(?:x*){2,9}", "((a))+?", r"([\])]*)*"])
def test_a_repeated_group_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="is repeated, which may take for ever; repeat a single"):
        compile_pattern(pattern)


@pytest.mark.parametrize("pattern", ["(?x)(a+) +", "(?s).", "(?im)a", "(?x:(a+) +)", "(?i-x:a)"])
def test_flags_other_than_i_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"is not known here; only \(\?i\) is"):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("[0-9", "it is not a regular expression: unterminated character set at position 0"),
        ("a{99999999999}", "it is not a regular expression: the repetition number is too large"),
        ("é", r"write bytes outside ASCII as \\xHH"),
        ("(?P<prot>x)", "unknown group 'prot'; groups are address, port, port2, ..."),
        ("(?P<port65>x)", "unknown group 'port65'; groups are address, port, port2, ..."),
        ("(?P<port>x)(?P<port3>y)", "group 'port3' has no forerunner; count from port, port2, ..."),
    ],
)
def test_what_is_wrong_with_a_pattern_is_said(pattern: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        compile_pattern(pattern)


def test_ports_come_in_the_order_of_their_names() -> None:
    found = matched("(?P<port2>.*)-(?P<port>.*)", b"5-4")

    assert list(ports_of(found).items()) == [("port", 4), ("port2", 5)]


def test_a_group_that_took_no_part_names_no_port() -> None:
    assert ports_of(matched("(?P<port>[0-9]+)(-(?P<port2>[0-9]+))?", b"4588")) == {"port": 4588}


@pytest.mark.parametrize("text", [b"0", b"65536", b"000080", b"+80", b"", b" 80", b"\xd9\xa1"])
def test_what_is_no_port_is_refused(text: bytes) -> None:
    with pytest.raises(ProtocolError, match="bad-port"):
        ports_of(matched("(?P<port>.*)", text))


@pytest.mark.parametrize(
    ("named", "count", "run"),
    [
        ({"port": 4588}, 1, [4588]),
        ({"port": 4588}, 2, [4588, 4589]),
        ({"port": 4588, "port2": 4589}, 2, [4588, 4589]),
        ({"port": 65534, "port2": 65535}, 2, [65534, 65535]),
        ({"port": 4588, "port2": 4589}, 4, [4588, 4589, 4590, 4591]),
    ],
)
def test_a_run_is_filled_up(named: dict[str, int], count: int, run: list[int]) -> None:
    assert aligned_run(named, count) == run


@pytest.mark.parametrize(
    ("named", "count"),
    [
        ({"port": 4589, "port2": 4590}, 2),
        ({"port": 4588, "port2": 4590}, 2),
        ({"port": 4589, "port2": 4588}, 2),
        ({"port": 4588, "port2": 4588}, 2),
        ({"port": 65535}, 3),
    ],
)
def test_r02_odd_reversed_and_impossible_runs_are_refused(
    named: dict[str, int], count: int
) -> None:
    with pytest.raises(ProtocolError, match="not-an-aligned-run"):
        aligned_run(named, count)


@pytest.mark.parametrize(
    ("form", "text", "address"),
    [
        (AddressFormat.TEXT, b"10.0.0.8", "10.0.0.8"),
        (AddressFormat.TEXT, b"fd00:a::8", "fd00:a::8"),
        (AddressFormat.DECIMAL, b"167772168", "10.0.0.8"),
    ],
)
def test_addresses_are_read_and_written(form: AddressFormat, text: bytes, address: str) -> None:
    assert form.read(text) == ip_address(address)
    assert form.write(ip_address(address)) == text


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (AddressFormat.TEXT, b"167772168"),
        (AddressFormat.TEXT, b"010.0.0.8"),
        (AddressFormat.TEXT, b"fe80::1%eth0"),
        (AddressFormat.TEXT, b"\xff"),
        (AddressFormat.DECIMAL, b"10.0.0.8"),
        (AddressFormat.DECIMAL, b"4294967296"),
        (AddressFormat.DECIMAL, b"0xA000008"),
        (AddressFormat.DECIMAL, b""),
        (AddressFormat.DECIMAL, b"9" * 5000),
    ],
)
def test_what_is_no_address_is_refused(form: AddressFormat, text: bytes) -> None:
    with pytest.raises(ProtocolError, match="bad-address"):
        form.read(text)


def test_only_the_groups_are_replaced() -> None:
    found = matched("(?P<port2>[0-9]+) at (?P<address>[0-9.]+)(-(?P<port>x))?", b"1 at 2.3 \xff")

    assert splice(found, {"address": b"a", "port": b"p", "port2": b"22", "port3": b"?"}) == (
        b"22 at a \xff"
    )
