"""`explain` for what clients ask for themselves: the right, the user, and the way of asking."""

import pytest

from sallyport.core.policy.terms import Frontend
from sallyport.frontends.rights import RIGHTS, usual_way
from sallyport.ops.config.load import parse
from sallyport.ops.control.explain import BadQuestion, explain, imagine
from sallyport.ops.control.schema import Explained

TEXT = """\
[networks.internal]
interfaces = ["int0"]
addresses = ["10.0.0.0/24"]
[networks.external]
interfaces = ["ext0"]
[[network_rules]]
from = "internal"
to = "external"
ipv4 = "nat"
[[users]]
name = "alice"
[[access_rules]]
name = "office"
action = "allow"
protocols = ["socks-connect", "socks-bind", "port-mapping"]
from = ["internal"]
to = ["external"]
users = ["alice"]
frontends = ["socks", "api"]
[frontends.socks]
listen = ["10.0.0.1:1080"]
"""


def ask(protocol: str, **more: str) -> Explained:
    configuration = parse(TEXT, "f")
    gateway = imagine(configuration)
    asked = {"client": "10.0.0.8", "server": "203.0.113.9:80", "protocol": protocol}
    return explain(gateway, configuration, asked | more)


def test_a_request_by_socks_is_explained_as_one_of_its_user() -> None:
    answer = ask("socks-connect", user="alice")

    assert (answer.allowed, answer.rule) == (True, "office")
    assert answer.interception == "asked for by [frontends.socks], as 'socks-connect'"


def test_without_its_user_the_step_that_refuses_is_the_users_of_the_rule() -> None:
    answer = ask("socks-bind")

    assert (answer.allowed, answer.reason) == (False, "no-rule-for-this-user")
    assert answer.key == "access_rules.users"


def test_another_way_of_asking_is_asked_about_by_name() -> None:
    usual = ask("port-mapping", user="alice")
    by_api = ask("port-mapping", user="alice", frontend="api")

    assert usual.reason == "no-rule-for-this-frontend"
    assert by_api.allowed
    assert by_api.interception == "asked for by [frontends.api], which is not written"


@pytest.mark.parametrize("name", RIGHTS)
def test_every_right_has_a_usual_way_of_asking(name: str) -> None:
    assert usual_way(name) in (Frontend.PCP, Frontend.SOCKS)
    assert usual_way("ftp") is Frontend.TRANSPARENT


# -- what explain once said otherwise than what happens --------------------------------------------

EVERYTHING = """\
[networks.internal]
interfaces = ["int0"]
addresses = ["10.0.0.0/24", "fd00:a::/64"]
[networks.vendor]
interfaces = ["ext0"]
addresses = ["203.0.113.11/32"]
[networks.external]
interfaces = ["ext0"]
[[network_rules]]
from = "internal"
to = "external"
ipv4 = "nat"
ipv6 = "route"
[[network_rules]]
from = "vendor"
to = "internal"
ipv4 = "route"
[[users]]
name = "alice"
[[access_rules]]
name = "alice's"
action = "allow"
protocols = ["ftp"]
from = ["internal"]
to = ["external"]
users = ["alice"]
[[access_rules]]
name = "all by socks"
action = "allow"
protocols = ["socks-connect"]
from = ["internal"]
to = ["external"]
[[access_rules]]
name = "vendor"
action = "allow"
protocols = ["ftp"]
from = ["vendor"]
to = ["internal"]
[[publishing_rules]]
name = "ours"
protocol = "ftp-server"
listen = "203.0.113.1:21"
server = "10.0.0.20:21"
[frontends.socks]
listen = ["10.0.0.1:1080"]
"""


def explained(client: str, server: str, protocol: str, **more: str) -> Explained:
    configuration = parse(EVERYTHING, "f")
    asked = {"client": client, "server": server, "protocol": protocol}
    return explain(imagine(configuration), configuration, asked | more)


@pytest.mark.parametrize(
    ("client", "server"),
    [("10.0.0.8", "2001:db8::9"), ("fd00:a::8", "203.0.113.9"), ("2001:db8::9", "10.0.0.8")],
)
def test_no_client_reaches_a_server_of_the_other_family(client: str, server: str) -> None:
    for protocol in ("ftp", "socks-connect"):
        answer = explained(client, server, protocol, user="alice")
        assert (answer.allowed, answer.reason) == (False, "addresses-of-two-families")


def test_an_address_of_ipv4_that_is_written_as_ipv6_is_what_the_kernel_makes_of_it() -> None:
    mapped = explained("::ffff:10.0.0.8", "[::ffff:203.0.113.9]:21", "ftp", user="alice")

    assert mapped == explained("10.0.0.8", "203.0.113.9:21", "ftp", user="alice")
    assert mapped.allowed


def test_a_user_comes_by_a_front_end_that_knows_users_or_decides_nothing() -> None:
    usual = explained("10.0.0.8", "203.0.113.9", "ftp", user="alice")
    assert (usual.allowed, usual.interception) == (True, "asked for by [frontends.socks], as 'ftp'")

    for way in ("transparent", "pcp"):
        answer = explained("10.0.0.8", "203.0.113.9", "ftp", user="alice", frontend=way)
        assert (answer.allowed, answer.reason) == (False, "no-rule-for-this-user")
        assert answer.remarks[0] == (
            f"a client that asks by {way!r} has no user: 'alice' decides nothing"
        )


def test_by_socks_the_port_says_which_protocol_the_rules_are_asked_about() -> None:
    for named in ("socks-connect", "ftp"):
        answer = explained("10.0.0.8", "203.0.113.9:21", named, frontend="socks")
        assert answer.reason == "no-rule-for-this-user"
        assert answer.interception.endswith("as 'ftp'")

        answer = explained("10.0.0.8", "203.0.113.9:80", named, frontend="socks")
        assert (answer.allowed, answer.rule) == (True, "all by socks")


@pytest.mark.parametrize("nowhere", ["169.254.169.254:80", "224.0.0.1:80", "100.100.100.200:80"])
def test_by_socks_nobody_reaches_what_is_never_served(nowhere: str) -> None:
    answer = explained("10.0.0.8", nowhere, "socks-connect")

    assert (answer.allowed, answer.reason) == (False, "peer-is-never-served")
    assert [step.outcome for step in answer.steps] == ["refused"]


@pytest.mark.parametrize("named", ["ftp", "ftp-server"])
def test_who_comes_to_a_published_place_speaks_what_is_published_there(named: str) -> None:
    answer = explained("198.51.100.9", "203.0.113.1:21", named, bind="2000")

    assert (answer.allowed, answer.rule) == (True, "ours")
    assert explained("198.51.100.9", "203.0.113.1:21", named, user="alice", frontend="api").allowed


@pytest.mark.parametrize("named", ["ftp", "ftp-server"])
def test_who_comes_to_a_published_place_from_inside_hears_that_it_arrives_and_is_refused(
    named: str,
) -> None:
    answer = explained("10.0.0.8", "203.0.113.1:21", named)

    assert (answer.allowed, answer.reason) == (False, "peer-is-gateway")
    assert answer.interception == (
        "arrives at 203.0.113.1:21, where the rule 'ours' publishes a server to clients outside"
        " alone"
    )
    beside = explained("10.0.0.8", "203.0.113.1:2121", named)
    assert beside.interception.startswith("none: tcp port 2121 is not intercepted")


def test_what_comes_from_outside_is_not_intercepted_on_its_way_inside() -> None:
    answer = explained("203.0.113.11", "10.0.0.8", "ftp")

    assert answer.interception == (
        "none: 203.0.113.11 is outside, and only clients inside are intercepted"
    )


def test_a_peer_of_the_other_family_is_no_question() -> None:
    with pytest.raises(BadQuestion, match="another family"):
        explained("10.0.0.8", "203.0.113.9", "ftp", bind="2000", peer="2001:db8::9")
