from ipaddress import ip_network

import msgspec

from sallyport.addresses import Endpoint
from sallyport.core.policy.rules import (
    AccessRule,
    Action,
    AllowedAddresses,
    Network,
    NetworkRule,
    Policy,
    PublishingRule,
    Relation,
)
from sallyport.ops.control.schema import BindingRow, Bindings, Rules, rules_of


def test_a_policy_is_shown_in_words() -> None:
    policy = Policy(
        networks=(Network("in", ("a", "b"), (ip_network("10.0.0.0/8"),)), Network("out", ("c",))),
        network_rules=(NetworkRule("in", "out", ipv4=Relation.NAT),),
        access_rules=(
            AccessRule(
                "r",
                Action.DENY,
                frozenset({"x", "ftp"}),
                frozenset({"in"}),
                frozenset({"out"}),
                allowed_addresses=AllowedAddresses.CLASS_C,
            ),
        ),
        publishing_rules=(
            PublishingRule(
                "p",
                "ftp-server",
                Endpoint.parse("[2001:db8::20]:21"),
                Endpoint.parse("[2001:db8::20]:21"),
                full_proxy=True,
            ),
        ),
    )

    assert msgspec.to_builtins(rules_of(policy)) == {
        "version": 1,
        "networks": [
            {"name": "in", "interfaces": ["a", "b"], "addresses": ["10.0.0.0/8"]},
            {"name": "out", "interfaces": ["c"], "addresses": []},
        ],
        "network_rules": [{"source": "in", "destination": "out", "ipv4": "nat", "ipv6": None}],
        "access_rules": [
            {
                "name": "r",
                "action": "deny",
                "protocols": ["ftp", "x"],
                "sources": ["in"],
                "destinations": ["out"],
                "max_bindings_per_client": 64,
                "allowed_addresses": "class-c",
                "min_client_port": 1024,
            }
        ],
        "publishing_rules": [
            {
                "name": "p",
                "protocol": "ftp-server",
                "listen": "[2001:db8::20]:21",
                "server": "[2001:db8::20]:21",
                "full_proxy": True,
                "max_bindings_per_client": 64,
                "min_client_port": 1024,
            }
        ],
    }


def test_a_policy_survives_the_way_over_the_socket() -> None:
    rules = rules_of(Policy(networks=(Network("in", ("a",)),)))

    assert msgspec.json.decode(msgspec.json.encode(rules), type=Rules) == rules


def test_a_binding_has_every_field_that_the_manual_promises() -> None:
    promised = {
        "id",
        "session",
        "filter",
        "rule",
        "transport",
        "proxy_address",
        "client_address",
        "peers",
        "flags",
        "data_path",
        "state",
        "age_seconds",
        "connections",
        "primary",
    }

    assert promised <= set(BindingRow.__struct_fields__)


def test_every_document_begins_with_its_version() -> None:
    assert msgspec.json.encode(Bindings(bindings=[])) == b'{"version":1,"bindings":[]}'
