"""`explain` for what clients ask for themselves: the right, the user, and the way of asking."""

import pytest

from sallyport.core.policy.terms import Frontend
from sallyport.frontends.rights import RIGHTS, usual_way
from sallyport.ops.config.load import parse
from sallyport.ops.control.explain import explain, imagine
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
    assert answer.interception == "asked for by [frontends.socks]"


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
