"""The shapes of rules, and of what rules name: users, sets, schedules."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from sallyport import limits
from sallyport.addresses import MAX_PORT, PortRange
from sallyport.core.policy.rules import Action
from sallyport.core.policy.terms import Frontend, Peers

HostList = Annotated[
    list[str],
    Meta(
        min_length=1,
        description='a list of networks, sets, addresses, prefixes, ranges, such as ["internal"]',
    ),
]
RuleName = Annotated[
    str,
    # Names are shown in tables and logs: one line, no control characters.
    Meta(
        pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,64}$",
        description='a name of 1 to 64 printable characters, such as "office ftp"',
    ),
]
EndpointText = Annotated[str, Meta(description='an address and a port, such as "10.0.0.20:21"')]
ListenText = Annotated[
    str,
    Meta(
        description='an address, or an interface, and a port, such as "203.0.113.1:21" or "ext0:21"'
    ),
]
PortsText = Annotated[str, Meta(description='a port or a range of ports, such as "1024-65535"')]
# 60 000: the live bindings the kernel path is built and measured for, all for one client.
BindingCount = Annotated[int, Meta(ge=1, le=60000, description="a number from 1 to 60000")]
# Each costs a descriptor or two, of the 20 000 or so that a process may have.
FlowCount = Annotated[int, Meta(ge=1, le=16384, description="a number from 1 to 16384")]
# A million a minute is what a core can bind: more is no limit.
Rate = Annotated[int, Meta(ge=1, le=1_000_000, description="a number from 1 to 1000000")]
# RFC 6887 section 15 counts in 32 bits; a year is for ever.
Lifetime = Annotated[
    int, Meta(ge=1, le=31_536_000, description="a number of seconds from 1 to 31536000")
]
UserName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_.+-][A-Za-z0-9_.@+-]{0,63}$",
        description='a name of letters, digits and . _ + - @, such as "alice"',
    ),
]


class TermsShape(Struct, frozen=True, kw_only=True):
    """The keys that access rules and publishing rules have in common."""

    max_bindings_per_client: BindingCount | None = None
    """How many bindings one client may hold at once. Without the key 64, and as many more as a
    passive_range of the rule has ports."""
    max_flows_per_binding: FlowCount = limits.MAX_RELAYED_FLOWS
    """How many connections or exchanges of datagrams one binding for many peers carries at once in
    user mode. In the kernel there is no such limit."""
    max_binds_per_minute: Rate | None = None
    """How many bindings one client may ask for in a minute; without the key there is no limit."""
    max_connections_per_minute: Rate | None = None
    """How many connections, and conversations of datagrams, one client may begin in a minute: those
    that it opens itself, not its transfers. Without the key there is no limit."""
    max_lifetime: Lifetime | None = None
    """Seconds after which a binding lets no peer in any more; what runs may finish. Without the
    key there is no limit."""
    max_idle: Lifetime | None = None
    """Seconds without traffic after which a binding ends, and what runs through it is reset.
    Without the key there is no limit."""
    allowed_addresses: Annotated[
        Literal["client", "class-c", "network", "all"],
        Meta(description='"client", "class-c", "network" or "all"'),
    ] = "client"
    """Which addresses a client may name for connections to be let in to: its own, its neighbours'
    (a /24 or a /64), those of its network, or any but the gateway's."""
    client_ports: PortsText = str(PortRange(limits.MIN_CLIENT_PORT, MAX_PORT))
    """The ports that a client may name for connections to be let in to; below 1024 services live
    (RFC 2577 section 3). A range that reaches below 1024 also lets servers name such ports."""
    external_ports: PortsText | None = None
    """The ports of the gateway that a client may wish for; without the key those of port_range."""
    peers: Annotated[Peers, Meta(description='"pinned" or "any"')] = Peers.ANY
    """Who may connect to a binding: "pinned", only hosts that its request names; "any", anyone
    where it names none."""
    filters: Annotated[dict[str, Any], Meta(description="tables of settings")] = {}
    """Settings of filters that differ for what this rule allows: [access_rules.filters.NAME] or
    [publishing_rules.filters.NAME], with the keys of [filters.NAME]."""


class AccessRuleShape(TermsShape, frozen=True, kw_only=True):
    """`[[access_rules]]`."""

    name: RuleName
    """How the rule is called in lists and in the log."""
    action: Annotated[Action, Meta(description='"allow" or "deny"')]
    """What the rule says about what it matches; the first rule that matches decides."""
    protocols: Annotated[
        list[str], Meta(min_length=1, description='a list of protocols, such as ["ftp"]')
    ]
    """The protocols it is about; `sallyport filters list` names those there are. A protocol that a
    rule names is supervised, allowed or not."""
    sources: HostList = msgspec.field(name="from")
    """The clients: networks, sets, addresses, prefixes and ranges."""
    destinations: HostList = msgspec.field(name="to")
    """The servers and peers, written likewise."""
    users: (
        Annotated[
            list[str],
            Meta(min_length=1, description='a list of users and @groups, such as ["alice"]'),
        ]
        | None
    ) = None
    """Users, and groups with an @ before them, as a front end has authenticated them; without the
    key the rule is for anyone."""
    schedule: (
        Annotated[str, Meta(description='the name of a schedule, such as "office"')] | None
    ) = None
    """When the rule holds; without the key always."""
    frontends: (
        Annotated[
            list[Frontend],
            Meta(
                min_length=1,
                description='a list of "transparent", "pcp", "socks", "upnp" and "api"',
            ),
        ]
        | None
    ) = None
    """The ways of asking that the rule is for; without the key any way."""


class PublishingRuleShape(TermsShape, frozen=True, kw_only=True):
    """`[[publishing_rules]]`."""

    name: RuleName
    """How the rule is called in lists and in the log."""
    protocol: Annotated[str, Meta(description='a protocol, such as "ftp-server"')]
    """The protocol of the server; it must be one for servers inside."""
    listen: ListenText
    """Where clients outside connect: an address of the gateway and a port. With an interface in the
    place of the address: at every lasting address that it has, of the server's family, followed
    when they change."""
    server: EndpointText
    """Where the server inside listens."""
    sources: HostList | None = msgspec.field(name="from", default=None)
    """The clients outside that are let in: networks, sets, addresses, prefixes and ranges; without
    the key anyone in the external network."""
    full_proxy: Annotated[bool, Meta(description="true or false")] = False
    """Whether the server sees the gateway's address instead of its clients' own; for a "nat"
    relation."""


class UserShape(Struct, frozen=True, kw_only=True):
    """`[[users]]`."""

    name: UserName
    """The name by which front ends know the user, and rules."""
    groups: list[UserName] = []
    """The groups the user is in; rules name them with an @ before."""
    password: (
        Annotated[str, Meta(description="what `sallyport passwd` prints, in quotes")] | None
    ) = None
    """The scrypt hash of the user's password; without the key no password is right."""


AddressList = Annotated[
    list[str],
    Meta(
        min_length=1,
        description='a list of addresses, prefixes and ranges, such as ["10.0.0.16/28"]',
    ),
]
SpanList = Annotated[
    list[str],
    Meta(min_length=1, description='a list of times, such as ["mon-fri 08:00-18:00"]'),
]
