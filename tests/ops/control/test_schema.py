from ipaddress import ip_network

import msgspec

from sallyport.addresses import Endpoint, PortRange
from sallyport.core.policy.hosts import Hosts
from sallyport.core.policy.rules import (
    AccessRule,
    Action,
    Network,
    NetworkRule,
    Policy,
    PublishingRule,
    Relation,
)
from sallyport.core.policy.schedules import Schedule
from sallyport.core.policy.terms import AllowedAddresses, Frontend, Peers
from sallyport.ipfilter import IpFilter
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
                Hosts(frozenset({"in"}), IpFilter.of("10.0.0.8", "10.1.0.0/16")),
                Hosts.of("out"),
                users=frozenset({"bob", "@lab"}),
                schedule=Schedule("office", ((0, 60),)),
                frontends=frozenset({Frontend.SOCKS, Frontend.PCP}),
                max_binds_per_minute=6,
                max_connections_per_minute=7,
                max_flows_per_binding=9,
                max_lifetime=60,
                max_idle=50,
                allowed_addresses=AllowedAddresses.CLASS_C,
                external_ports=PortRange(40000, 40009),
                peers=Peers.PINNED,
                filters={"ftp": {"read_only": True}},
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
                "sources": ["in", "10.0.0.8", "10.1.0.0-10.1.255.255"],
                "destinations": ["out"],
                "users": ["@lab", "bob"],
                "schedule": "office",
                "frontends": ["pcp", "socks"],
                "max_bindings_per_client": 64,
                "max_binds_per_minute": 6,
                "max_connections_per_minute": 7,
                "max_flows_per_binding": 9,
                "max_lifetime": 60,
                "max_idle": 50,
                "allowed_addresses": "class-c",
                "client_ports": "1024-65535",
                "external_ports": "40000-40009",
                "peers": "pinned",
                "filters": {"ftp": {"read_only": True}},
            }
        ],
        "publishing_rules": [
            {
                "name": "p",
                "protocol": "ftp-server",
                "listen": "[2001:db8::20]:21",
                "server": "[2001:db8::20]:21",
                "sources": None,
                "full_proxy": True,
                "max_bindings_per_client": 64,
                "max_binds_per_minute": None,
                "max_connections_per_minute": None,
                "max_flows_per_binding": 256,
                "max_lifetime": None,
                "max_idle": None,
                "allowed_addresses": "client",
                "client_ports": "1024-65535",
                "external_ports": None,
                "peers": "any",
                "filters": {},
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
