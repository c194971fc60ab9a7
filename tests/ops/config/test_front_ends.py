"""The sections of front ends: what they mean, and what is wrong with them."""

import pytest

from sallyport.addresses import Endpoint
from sallyport.errors import ConfigErrors
from sallyport.ops.config.load import Configuration, parse
from sallyport.passwords import PasswordHash

HASH = str(PasswordHash(2**14, 8, 1, bytes(16), bytes(32)))
HEAD = """\
[networks.internal]
interfaces = ["int0"]
addresses = ["10.0.0.0/24"]
[networks.external]
interfaces = ["ext0"]
[[network_rules]]
from = "internal"
to = "external"
ipv4 = "nat"
[[access_rules]]
name = "office"
action = "allow"
protocols = ["socks-connect", "socks-bind", "socks-udp"]
from = ["internal"]
to = ["external"]
"""


def read(rest: str) -> Configuration:
    return parse(HEAD + rest, "f")


def complaints(rest: str) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        read(rest)
    return [f"{one.line - HEAD.count(chr(10))}: {one.problem}" for one in caught.value.errors]


def test_socks_is_off_without_its_section() -> None:
    assert read("").socks is None


def test_socks_listens_where_it_is_told_and_asks_no_one_for_a_password() -> None:
    socks = read('[frontends.socks]\nlisten = ["10.0.0.1:1080", "[fd00::1]:1080"]\n').socks

    assert socks is not None
    assert socks.listen == (Endpoint.parse("10.0.0.1:1080"), Endpoint.parse("[fd00::1]:1080"))
    assert socks.passwords is None


def test_socks_knows_the_users_that_have_a_password() -> None:
    users = f'[[users]]\nname = "alice"\npassword = "{HASH}"\n[[users]]\nname = "bob"\n'
    section = '[frontends.socks]\nlisten = ["10.0.0.1:1080"]\nauthentication = "password"\n'
    socks = read(users + section).socks

    assert socks is not None
    assert socks.passwords == {"alice": PasswordHash.parse(HASH)}


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        (
            '[frontends.socks]\nlisten = ["10.0.0.1"]\n',
            "2: '10.0.0.1' is not ADDRESS:PORT; write one like 10.0.0.1:1080",
        ),
        (
            '[frontends.socks]\nlisten = ["0.0.0.0:1080"]\n',
            "2: '0.0.0.0:1080' is no place inside to listen at; write one like 10.0.0.1:1080",
        ),
        (
            '[frontends.socks]\nlisten = ["10.0.0.1:1080", "10.0.0.1:1080"]\n',
            "2: 10.0.0.1:1080 stands before it; write it once",
        ),
        (
            '[frontends.socks]\nlisten = ["10.0.0.1:1080"]\nauthentication = "password"\n',
            "3: no user has a password; write one for each with `sallyport passwd`, or"
            ' authentication = "none"',
        ),
        (
            '[[users]]\nname = "alice"\npassword = "secret"\n',
            "3: it is no hash of a password; write what `sallyport passwd` prints",
        ),
        (
            '[frontends.socsk]\nlisten = ["10.0.0.1:1080"]\n',
            "1: unknown front end 'socsk'; write 'socks'",
        ),
        ("[frontends.socks]\n", "1: frontends.socks has no key 'listen'; give it a list of"),
        (
            "[frontends.pcp]\nmin_lifetime = 600\nmax_lifetime = 60\n",
            "2: min_lifetime 600 is above max_lifetime 60; write a smaller one",
        ),
    ],
)
def test_a_mistake_is_found_where_it_stands(rest: str, expected: str) -> None:
    (complaint,) = complaints(rest)

    assert complaint.startswith(expected)
