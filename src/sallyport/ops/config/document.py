"""The shape of a configuration document: which keys there are and what each may hold.

Each key is converted by itself, not the document at once, so that every mistake in a file is
reported and not only the first. What keys mean together is decided in `ops.config.load`.
"""

import dataclasses
import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from sallyport import limits
from sallyport.addresses import PortRange
from sallyport.core.policy.rules import Relation
from sallyport.errors import ConfigError, ConfigErrors
from sallyport.ops.config.admin_shapes import AdminShape, MetricsShape
from sallyport.ops.config.rule_shapes import (
    AccessRuleShape,
    AddressList,
    EndpointText,
    Lifetime,
    PublishingRuleShape,
    SpanList,
    UserShape,
)
from sallyport.ops.config.settings import ApiSettings, GatewaySettings, PcpSettings
from sallyport.ops.config.toml_lines import KeyPath

_Shape = TypeVar("_Shape")
_DEFAULTS = GatewaySettings()
_PCP = PcpSettings()
_API = ApiSettings()

# Enough of a wrong value to recognise it in one line of an error message.
_SHOWN = 60

_TABLES = (
    "gateway",
    "networks",
    "network_rules",
    "sets",
    "users",
    "schedules",
    "access_rules",
    "publishing_rules",
    "filters",
    "frontends",
    "admin",
    "metrics",
)

_FRONT_ENDS = ("pcp", "socks", "api")

# What types without a description take, in the words of TOML.
_PLAIN = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text in quotes",
    PortRange: 'a range of ports, such as "50000-50099"',
}

# "adress" finds "addresses", and words that only share a few letters are not guessed.
_SIMILAR = 0.5

# Names of networks stand in lists, logs and comments of the ruleset.
_NETWORK_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")

NetworkName = Annotated[str, Meta(description='the name of a network, such as "internal"')]
RelationName = Annotated[Relation, Meta(description='"nat" or "route"')]
# Linux: at most 15 bytes (IFNAMSIZ), no slash, no space. Quotes would end a string of a ruleset.
InterfaceName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:@+-]{1,15}$")]

GroupName = Annotated[
    str, Meta(min_length=1, description='the name of a group of this host, such as "adm"')
]


class GatewayShape(Struct, frozen=True):
    """`[gateway]`."""

    data_path: Annotated[
        Literal["auto", "kernel", "user"], Meta(description='"auto", "kernel" or "user"')
    ] = "auto"
    """What carries data connections: the kernel or this program; "auto": the kernel if it can."""
    port_range: Annotated[str, Meta(description='a range, such as "40000-59999"')] = str(
        _DEFAULTS.port_range
    )
    """External ports that bindings may use; nothing else on the host may use them."""
    control_socket: Annotated[str, Meta(description="a path in quotes")] = str(
        _DEFAULTS.control_socket
    )
    """Where the gateway listens for the other commands (the admin API). Root and the gateway's own
    user may use it, and the groups below."""
    control_group: GroupName | None = None
    """The group of the host whose members may do everything there."""
    monitor_group: GroupName | None = None
    """The group of the host whose members may look at everything there, and change nothing."""
    masquerade: Annotated[bool, Meta(description="true or false")] = _DEFAULTS.masquerade
    """Whether a "nat" relation also translates ordinary outgoing traffic; false leaves that to the
    host's own rules."""
    ipv6_host_prefix: Annotated[
        int, Meta(ge=48, le=128, description="a prefix length from 48 to 128")
    ] = limits.IPV6_HOST_PREFIX
    """How long the IPv6 prefix of one host is: quotas count all its addresses together."""
    workers: Annotated[
        Annotated[int, Meta(ge=1, le=limits.MAX_WORKERS)] | Literal["auto"],
        Meta(description=f'a number from 1 to {limits.MAX_WORKERS}, or "auto"'),
    ] = _DEFAULTS.workers
    """Processes that serve clients, each client always by the same one; "auto": one for each
    processor."""
    drain_seconds: Annotated[
        float, Meta(ge=0, le=86400, description="a number of seconds from 0 to 86400")
    ] = _DEFAULTS.drain_seconds
    """How long running transfers may go on after SIGTERM, before both ends are reset."""
    node: Annotated[Literal[1, 2], Meta(description="1 or 2")] | None = None
    """Which of a pair of gateways this is: each numbers its flows in its own half, so that those
    which the other copies here are told apart. Without the key it is alone."""


class NetworkShape(Struct, frozen=True):
    """`[networks.NAME]`."""

    interfaces: Annotated[
        list[InterfaceName],
        Meta(min_length=1, description='a list of interface names, such as ["eth0"]'),
    ]
    """The interfaces that lead to this network; addresses tell apart networks that share one."""
    addresses: Annotated[
        list[str],
        Meta(
            min_length=1,
            description='a list of networks, such as ["10.0.0.0/24"],'
            " or leave the key out for all that no other network claims",
        ),
    ] = []
    """The addresses of this network; without the key it is all that no other network claims, which
    one network may be."""
    source: Annotated[
        str | list[str],
        Meta(
            description='an address of the gateway, such as "203.0.113.1", or a list with one'
            " IPv4 and one IPv6 address"
        ),
    ] = []
    """The gateway's address towards this network: what it dials from, translates to and binds at.
    Without the key routing chooses."""


class NetworkRuleShape(Struct, frozen=True):
    """`[[network_rules]]`."""

    source: NetworkName = msgspec.field(name="from")
    """The network whose hosts begin connections."""
    destination: NetworkName = msgspec.field(name="to")
    """The network that they reach."""
    ipv4: RelationName | None = None
    """How IPv4 gets there: "nat" translates to the gateway's address, "route" does not; without the
    key there is no IPv4 traffic."""
    ipv6: RelationName | None = None
    """The same for IPv6."""


class PcpShape(Struct, frozen=True):
    """`[frontends.pcp]`: clients ask for ports themselves, by PCP (RFC 6887)."""

    nat_pmp: Annotated[bool, Meta(description="true or false")] = _PCP.nat_pmp
    """Whether NAT-PMP (RFC 6886), the predecessor of PCP, is answered too."""
    min_lifetime: Lifetime = _PCP.min_lifetime
    """The shortest lifetime of a mapping, in seconds; who asks for less gets as much."""
    max_lifetime: Lifetime = _PCP.max_lifetime
    """The longest lifetime of a mapping, in seconds; clients renew it before it ends."""


class SocksShape(Struct, frozen=True):
    """`[frontends.socks]`: clients name their servers themselves, by SOCKS 5, 4 and 4a."""

    listen: Annotated[
        list[EndpointText],
        Meta(min_length=1, description='a list of addresses and ports, such as ["10.0.0.1:1080"]'),
    ]
    """Where clients inside connect: addresses of the gateway, each with a port."""
    authentication: Annotated[
        Literal["none", "password"], Meta(description='"none" or "password"')
    ] = "none"
    """Whether clients give a name and a password of `[[users]]` (RFC 1929); SOCKS 4, which has no
    passwords, is then refused."""


class ApiShape(Struct, frozen=True):
    """`[frontends.api]`: processes of this host ask for ports of clients, over a UNIX socket."""

    socket: Annotated[str, Meta(description="a path in quotes")] = str(_API.socket)
    """Where they connect."""
    group: Annotated[str, Meta(min_length=1, description="the name of a group")] | None = None
    """The group whose members may connect; without the key only root and the gateway's own user."""


@dataclass(slots=True)
class Report:
    """Collects what is wrong in one file, each at the line of the key it is about."""

    file: str
    lines: Mapping[KeyPath, int]
    errors: list[ConfigError] = field(default_factory=list)

    def add(self, path: KeyPath, problem: str) -> None:
        """Note one mistake; `path` may name a missing key, its nearest parent has the line."""
        while path and path not in self.lines:
            path = path[:-1]
        self.errors.append(ConfigError(self.file, self.lines.get(path, 1), problem))

    def raise_if_any(self) -> None:
        """Raise ConfigErrors with everything noted so far, if there is anything."""
        if self.errors:
            raise ConfigErrors(self.errors)


@dataclass(frozen=True, slots=True)
class ConfigDocument:
    """A document by its tables; None stands for a table that has been reported already.

    `filters` is as it was written: the filters themselves say which keys there may be.
    """

    gateway: GatewayShape | None
    networks: Mapping[str, NetworkShape | None]
    network_rules: tuple[NetworkRuleShape | None, ...]
    access_rules: tuple[AccessRuleShape | None, ...]
    publishing_rules: tuple[PublishingRuleShape | None, ...]
    sets: Mapping[str, list[str]]
    schedules: Mapping[str, list[str]]
    users: tuple[UserShape | None, ...]
    filters: Mapping[str, object]
    pcp: PcpShape | None
    socks: SocksShape | None
    api: ApiShape | None
    admin: AdminShape | None
    metrics: MetricsShape | None


def read_document(raw: Mapping[str, object], report: Report) -> ConfigDocument:
    """Return the tables of `raw`; mistakes go to `report`, nothing is raised."""
    for key in raw.keys() - set(_TABLES):
        report.add((key,), f"unknown table {key!r}; {nearest(key, _TABLES)}")
    network_tables = _tables(raw.get("networks", {}), "networks", report)
    for name in network_tables:
        if not _NETWORK_NAME.fullmatch(name):
            report.add(
                ("networks", name),
                f"{shown(name)} cannot name a network; write 1 to 32 letters, digits, - or _",
            )
    front_ends = _tables(raw.get("frontends", {}), "frontends", report)
    for name in front_ends.keys() - set(_FRONT_ENDS):
        report.add(("frontends", name), f"unknown front end {name!r}; {nearest(name, _FRONT_ENDS)}")
    return ConfigDocument(
        gateway=read_table(raw.get("gateway", {}), GatewayShape, ("gateway",), report),
        networks={
            name: read_table(table, NetworkShape, ("networks", name), report)
            for name, table in network_tables.items()
        },
        network_rules=_array(raw, "network_rules", NetworkRuleShape, report),
        access_rules=_array(raw, "access_rules", AccessRuleShape, report),
        publishing_rules=_array(raw, "publishing_rules", PublishingRuleShape, report),
        sets=_lists(raw, "sets", AddressList, report),
        schedules=_lists(raw, "schedules", SpanList, report),
        users=_array(raw, "users", UserShape, report),
        filters=_tables(raw.get("filters", {}), "filters", report),
        pcp=_optional(front_ends, ("frontends", "pcp"), PcpShape, report),
        socks=_optional(front_ends, ("frontends", "socks"), SocksShape, report),
        api=_optional(front_ends, ("frontends", "api"), ApiShape, report),
        admin=_optional(raw, ("admin",), AdminShape, report),
        metrics=_optional(raw, ("metrics",), MetricsShape, report),
    )


def nearest(word: str, known: Iterable[str]) -> str:
    """Say what to write instead of `word`: the most similar of `known`, else all of them."""
    known = tuple(known)
    match = difflib.get_close_matches(word, known, n=1, cutoff=_SIMILAR)
    return f"write {match[0]!r}" if match else f"write one of: {', '.join(known) or 'none exist'}"


def shown(value: object) -> str:
    """Return `value` as one short piece of text for an error message."""
    try:
        text = json.dumps(value, default=str)
    except ValueError:
        # A hexadecimal literal may be longer than what Python agrees to print in decimal.
        return "a number of thousands of digits"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _optional(
    tables: Mapping[str, object], path: tuple[str, ...], shape: type[_Shape], report: Report
) -> _Shape | None:
    """Return the table at `path`, whose last key is looked for in `tables`; None without it."""
    return read_table(tables[path[-1]], shape, path, report) if path[-1] in tables else None


def _tables(raw: object, name: str, report: Report) -> Mapping[str, object]:
    if isinstance(raw, dict):
        return raw
    report.add((name,), f"{name} is not a table; write [{name}.NAME]")
    return {}


def _array(
    raw: Mapping[str, object], name: str, shape: type[_Shape], report: Report
) -> tuple[_Shape | None, ...]:
    tables = raw.get(name, [])
    if not isinstance(tables, list):
        report.add((name,), f"{name} is not an array of tables; write [[{name}]]")
        return ()
    return tuple(read_table(table, shape, (name, i), report) for i, table in enumerate(tables))


def _lists(
    raw: Mapping[str, object],
    name: str,
    shape: Any,  # noqa: ANN401 - an annotated type
    report: Report,
) -> Mapping[str, list[str]]:
    """Return a table in which each key is a name of the operator's own, with a list."""
    tables, found = raw.get(name, {}), dict[str, list[str]]()
    if not isinstance(tables, dict):
        report.add((name,), f"{name} is not a table; write names and lists below [{name}]")
        return found
    for key, value in tables.items():
        if not _NETWORK_NAME.fullmatch(key):
            report.add(
                (name, key),
                f"{shown(key)} cannot be a name in {name}; write 1 to 32 letters, digits, - or _",
            )
        converted = _convert(value, shape, (name, key), report)
        # With a mistake in it, it is still a name that rules may use.
        found[key] = converted if isinstance(converted, list) else []
    return found


@dataclass(frozen=True, slots=True)
class Key:
    """One key a table may have: the attribute it becomes, and what it may hold."""

    attribute: str
    type: Any
    is_required: bool
    default: object = None


def _default(one: msgspec.structs.FieldInfo) -> object:
    """Return what a key is where it is not written; None for one that has to be written."""
    if one.default is not msgspec.NODEFAULT:
        return one.default
    return None if one.default_factory is msgspec.NODEFAULT else one.default_factory()


def keys_of(shape: Any) -> dict[str, Key]:  # noqa: ANN401 - two kinds of classes
    """Return the keys of a shape: our own are Structs, a filter's settings a dataclass."""
    if issubclass(shape, Struct):
        return {
            one.encode_name: Key(one.name, one.type, one.required, _default(one))
            for one in msgspec.structs.fields(shape)
        }
    hints = get_type_hints(shape, include_extras=True)
    return {
        one.name: Key(
            one.name,
            hints[one.name],
            one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING,
            None if one.default is dataclasses.MISSING else one.default,
        )
        for one in dataclasses.fields(shape)
    }


def read_table(
    raw: object,
    shape: type[_Shape],
    path: KeyPath,
    report: Report,
    *,
    also: Iterable[str] = (),
) -> _Shape | None:
    """Return the table at `path` as a Struct or dataclass, or None; mistakes go to `report`.

    A shape that refuses what its keys mean together says so by ValueError. `also`: keys that may be
    written there too and that other code has read.
    """
    title = ".".join(str(part) for part in path if isinstance(part, str))
    if not isinstance(raw, dict):
        report.add(path, f"{title} is {shown(raw)}, not a table; write keys below [{title}]")
        return None
    keys = keys_of(shape)
    misspelt = set[str]()
    for key in raw.keys() - keys.keys():
        report.add((*path, key), f"unknown key {key!r} in {title}; {nearest(key, (*keys, *also))}")
        misspelt.update(difflib.get_close_matches(key, keys, n=1, cutoff=_SIMILAR))
    before, values, lacks_key = len(report.errors), dict[str, object](), False
    for key, info in keys.items():
        if key in raw:
            values[info.attribute] = _convert(raw[key], info.type, (*path, key), report)
        elif info.is_required and key in misspelt:
            lacks_key = True  # reported by the name that it was given
        elif info.is_required:
            report.add(path, f"{title} has no key {key!r}; give it {accepted(info.type)}")
    if len(report.errors) > before or lacks_key:
        return None
    try:
        return shape(**values)
    except ValueError as error:
        report.add(path, f"{title}: {error}")
        return None


def _convert(value: object, wanted: object, path: KeyPath, report: Report) -> object:
    try:
        if PortRange in (wanted, *get_args(wanted)):
            return PortRange.parse(str(value))  # to msgspec it would be a table
        return msgspec.convert(value, wanted)
    except ValueError as error:  # msgspec.ValidationError is one
        # msgspec names the element of a list: "... - at `$[1]`".
        if isinstance(value, list) and (element := re.search(r"`\$\[(\d+)\]", str(error))):
            index = int(element[1])
            path, value = (*path, index), value[index]
        key = next(part for part in reversed(path) if isinstance(part, str))
        report.add(path, f"{key} cannot be {shown(value)}; write {accepted(wanted)}")
        return None


def accepted(wanted: Any) -> str:  # noqa: ANN401 - a type, or what typing makes of one
    """Say what a type takes: by the description that comes with it, else by the type itself.

    Optional types carry both inside.
    """
    inside = get_args(wanted)
    for part in inside:
        if isinstance(part, Meta) and part.description:
            return part.description
    if get_origin(wanted) is Literal:
        *most, last = [json.dumps(value) for value in inside]
        return f"{', '.join(most)} or {last}" if most else last
    if get_origin(wanted) in {list, tuple}:
        return f"a list, each {accepted(inside[0])}"
    return accepted(inside[0]) if inside else _PLAIN.get(wanted, f"a {wanted.__name__}")
