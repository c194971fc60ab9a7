"""What the admin API answers and `--json` prints: documents with `"version": 1`.

Field names and meanings are a promise within a version: fields may be added, never changed.
Addresses are text (`10.0.0.8:1553`, `[2001:db8::8]:1553`), so that any JSON reader can use them.
"""

import re
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, Literal

from msgspec import Struct

from sallyport.addresses import IpAddress, parse_address
from sallyport.core.policy.rules import Policy
from sallyport.core.policy.terms import Terms
from sallyport.errors import ConfigError

_OF_WORKER = re.compile(r"w(\d+)\.")


def worker_in(text: str) -> int | None:
    """Return the number of the worker that an id begins with; None when it names none."""
    found = _OF_WORKER.match(text)
    return None if found is None else int(found[1])


def address_in(wanted: object) -> IpAddress | None:
    """Return the address that is given in the place of an id; None for an id."""
    try:
        return parse_address(str(wanted))
    except ValueError:
        return None


class Document(Struct, frozen=True, kw_only=True):
    """One answer; printed as a single JSON object."""

    version: Literal[1] = 1


class Problem(Document, frozen=True, kw_only=True):
    """Why a request was refused or failed."""

    code: str
    """A reason code; `sallyport reasons CODE` says what it means and what to do."""
    message: str
    """One line for people."""


class Health(Document, frozen=True, kw_only=True):
    """Whether the gateway can serve clients."""

    ready: bool
    why: list[str]
    """What is missing; empty when nothing is."""


class EventCount(Struct, frozen=True, kw_only=True):
    """How often one thing happened in a worker."""

    event: str
    protocol: str
    reason: str
    count: int


class Measured(Document, frozen=True, kw_only=True):
    """What one worker has counted since its process began; metrics are made of it."""

    sessions: int
    sessions_opened: int
    controls: int
    bindings: int
    transfers: int
    events: list[EventCount]
    refusals: dict[str, int]
    bytes: dict[str, int]
    """Payload of transfers that have ended, by direction."""
    bind_counts: list[int]
    """Granted binds by how long they took, for each bound of `core.runtime.durations`."""
    bind_seconds: float
    ports_free: dict[str, int]
    """By transport, at the address that has the fewest."""
    ports: int
    """How many ports this worker has for each transport at each address."""
    log_records_lost: int
    kernel_errors: dict[str, int]
    """By the operation that the kernel refused."""
    cpu_seconds: float
    resident_bytes: int


class LoggedRecord(Struct, frozen=True, kw_only=True):
    """One record of the log; docs/reference/log.md has the other fields of each event."""

    time: str
    """RFC 3339, UTC, to the microsecond."""
    level: str
    """`trace`, `debug`, `info`, `warning` or `error`."""
    event: str
    worker: int | None = None
    """Which worker made it."""


class Lost(Document, frozen=True, kw_only=True):
    """In a stream: here documents are missing, because the reader was too slow."""

    lost: int
    """How many."""


class FlowRow(Struct, frozen=True, kw_only=True):
    """One connection that came through a binding, with the bytes so far."""

    peer: str
    from_peer_bytes: int
    to_peer_bytes: int


class BindingRow(Struct, frozen=True, kw_only=True):
    """One binding."""

    id: str
    worker: int | None = None
    """The worker that serves the client, by its number in `status`; None where there is but one
    process."""
    session: str
    filter: str
    rule: str
    """The name of the access rule that allowed it."""
    transport: Literal["tcp", "udp"]
    proxy_address: str
    client_address: str | None
    """None while it is not known yet."""
    peers: list[str] | None
    """Addresses and ranges that may connect; None: any address; an empty list: no address."""
    flags: list[str]
    data_path: Literal["kernel", "user"]
    state: str
    age_seconds: float
    expires_in: float | None = None
    """Seconds until it ends if nothing happens; None while it has no time limit."""
    frontend: str = "transparent"
    """How it was asked for: `transparent`, `pcp`, `socks`, `api`."""
    user: str | None = None
    """The user it was asked for, as a front end knows him; None: only the address is known."""
    connections: list[FlowRow]
    primary: str | None
    """The connection it ends with, `CLIENT > SERVER`; None when it lives on its own."""


class ControlRow(Struct, frozen=True, kw_only=True):
    """One intercepted control connection of a session."""

    server: str
    filter: str
    state: str
    client: str
    """Who opened it; of a published server, a host outside."""


class SessionRow(Struct, frozen=True, kw_only=True):
    """One client."""

    id: str
    worker: int | None = None
    """The worker that serves the client, by its number in `status`; None where there is but one
    process."""
    client: str
    user: str | None = None
    """As a front end knows him; None: only the address is known."""
    source: Literal["secure-nat", "firewall-client"] = "secure-nat"
    """A host that is routed through the gateway, or one that asks it for its connections."""
    since: str
    """When it appeared: ISO 8601, UTC."""
    controls: list[ControlRow]
    bindings: int


WorkerState = Literal["serving", "starting", "silent", "outgoing"]
"""Starting: so is one that replaces another. Silent: it gave no answer within a second. Outgoing:
another has its clients, and it finishes what it has begun."""


class WorkerRow(Struct, frozen=True, kw_only=True):
    """One worker process."""

    number: int
    pid: int | None
    """None between the end of a process and the start of the next."""
    state: WorkerState
    restarts: int
    """How often its process had to be replaced."""


class Status(Document, frozen=True, kw_only=True):
    """The gateway as a whole."""

    release: str
    pid: int
    uptime_seconds: float
    data_path: Literal["kernel", "user"]
    port_range: str
    networks: list[str]
    supervised: list[str]
    """The protocols of clients inside that are intercepted: a rule allows each, or it is denied."""
    unsupervised: list[str]
    """Those with a filter that no rule names: they pass as ordinary traffic."""
    sessions: int
    controls: int
    bindings: int
    refusals: dict[str, int]
    """How often each reason code was given since the start."""
    log_records_lost: int
    repairs: int = 0
    """How often the guard or a setting of the host was changed by others, and put in order."""
    degraded: str | None = None
    """What of it could not be put in order yet; None when all is well."""
    successor: int | None = None
    """The process that this gateway has started to take its place (`upgrade`), until it has."""
    workers: list[WorkerRow] = []


class Sessions(Document, frozen=True, kw_only=True):
    """All sessions, or the one asked for."""

    sessions: list[SessionRow]


class Bindings(Document, frozen=True, kw_only=True):
    """All bindings, or the one asked for."""

    bindings: list[BindingRow]


class TransferRow(Struct, frozen=True, kw_only=True):
    """One connection that runs through a binding or by a permission."""

    id: str
    worker: int | None = None
    """The worker that serves the client, by its number in `status`; None where there is but one
    process."""
    session: str
    filter: str | None
    rule: str | None
    """Filter and rule of an adopted transfer are forgotten."""
    frontend: str | None = None
    """How it was asked for, as of a binding; None of an adopted transfer."""
    user: str | None = None
    """The user it was asked for, as a front end knows him; None: only the address is known."""
    transport: Literal["tcp", "udp"]
    direction: Literal["inbound", "outbound"]
    """Inbound: the peer connected to the client, as in active FTP. Outbound: the client did."""
    client: str
    peer: str | None
    """None while it is not known."""
    data_path: Literal["kernel", "user"]
    age_seconds: float
    """Since the binding or the permission was made, or the transfer adopted."""
    is_adopted: bool
    """Whether it is from an earlier process, which has died."""
    from_client_bytes: int
    to_client_bytes: int
    """Payload, without headers."""
    bytes_per_second: int
    """Both ways together, on average since then; of an adopted transfer since it was found."""


class Transfers(Document, frozen=True, kw_only=True):
    """All transfers that run."""

    transfers: list[TransferRow]


class Look(Document, frozen=True, kw_only=True):
    """What `top` sees at one moment."""

    status: Status
    transfers: list[TransferRow]
    """The fastest first; `bytes_per_second` is since the look before."""


class Killed(Document, frozen=True, kw_only=True):
    """What was ended, by the ids of the sessions, bindings and transfers."""

    sessions: list[str]
    bindings: list[str]
    transfers: list[str] = []
    controls: list[str] = []
    """Control connections that were ended by themselves: client > server."""


class NetworkRow(Struct, frozen=True, kw_only=True):
    """One network; without addresses it is all that no other network claims."""

    name: str
    interfaces: list[str]
    addresses: list[str]


class NetworkRuleRow(Struct, frozen=True, kw_only=True):
    """The relation between two networks; None is no traffic."""

    source: str
    destination: str
    ipv4: str | None
    ipv6: str | None


class TermsRow(Struct, frozen=True, kw_only=True):
    """The limits of a rule; None where it has none."""

    max_bindings_per_client: int
    max_flows_per_binding: int
    max_binds_per_minute: int | None
    max_connections_per_minute: int | None
    max_lifetime: int | None
    max_idle: int | None
    allowed_addresses: str
    client_ports: str
    external_ports: str | None
    peers: str
    filters: dict[str, dict[str, object]]
    """The settings of filters that the rule writes otherwise."""


class AccessRuleRow(TermsRow, frozen=True, kw_only=True):
    """One access rule."""

    name: str
    action: str
    protocols: list[str]
    sources: list[str]
    """Networks, addresses and ranges."""
    destinations: list[str]
    users: list[str] | None
    """Users, and groups with an @ before them; None is anyone."""
    schedule: str | None
    frontends: list[str] | None


class PublishingRuleRow(TermsRow, frozen=True, kw_only=True):
    """One publishing rule."""

    name: str
    protocol: str
    listen: str
    server: str
    sources: list[str] | None
    """The clients outside that are let in; None is anyone."""
    full_proxy: bool


class Rules(Document, frozen=True, kw_only=True):
    """The policy in force; access rules in the order in which they are asked."""

    networks: list[NetworkRow]
    network_rules: list[NetworkRuleRow]
    access_rules: list[AccessRuleRow]
    publishing_rules: list[PublishingRuleRow]


FilterState = Literal["on", "off", "switched-off", "failed"]
"""Failed: it could not be imported. Switched off: it failed at work."""


class FilterRow(Struct, frozen=True, kw_only=True):
    """One protocol filter."""

    name: str
    origin: str
    """`builtin`, `package NAME VERSION` or `path FILE`."""
    api_version: int | None
    """The version of the filter API it was written for; None when it failed."""
    state: FilterState
    reason: str | None
    """Why it failed or was switched off."""
    protocols: list[str]
    """What rules may name."""
    events: list[str]
    """What it registered for."""
    scope: list[str]
    """Whose connections: `primary`, `secondary`, `any-protocol`."""
    sources: list[str]
    """Of which clients: `secure-nat`, `firewall-client`."""
    on_by_default: bool
    """Whether it runs where no file says otherwise."""
    summary: str


class Filters(Document, frozen=True, kw_only=True):
    """The protocol filters: of the running gateway first, then others that are installed."""

    filters: list[FilterRow]


class ReasonRow(Struct, frozen=True, kw_only=True):
    """One reason code."""

    code: str
    group: str
    """Where it comes from: policy, resources, peer, end, call, operation, class."""
    happened: str
    """What the gateway saw or decided."""
    means: str
    """What that means for the people and programs concerned."""
    remedy: str
    """What to do."""
    key: str | None
    """The configuration key that changes it; None when there is none."""


class Reasons(Document, frozen=True, kw_only=True):
    """Every reason code, or the one asked for."""

    reasons: list[ReasonRow]


class HashedPassword(Document, frozen=True, kw_only=True):
    """What `passwd` made."""

    password: str
    """The hash, for the key `password` of `[[users]]`."""


class Mistake(Struct, frozen=True, kw_only=True):
    """One mistake in a configuration file."""

    file: str
    line: int
    problem: str


class DoctorFinding(Struct, frozen=True, kw_only=True):
    """One thing that `doctor` found."""

    code: str
    severity: str
    """`wrong`: something does not work, or is open; `doubtful`: it may be meant so."""
    what: str
    why: str
    """Why it matters."""
    remedy: list[str]
    """Commands, or lines to write."""


class Diagnosis(Document, frozen=True, kw_only=True):
    """What `doctor` found on this host."""

    checked: list[str]
    """What was looked at."""
    findings: list[DoctorFinding]
    """What does not work first."""


class Check(Document, frozen=True, kw_only=True):
    """What `check-config` found."""

    file: str
    valid: bool
    """Whether `run` would start with it, as far as this host can be asked."""
    errors: list[Mistake]
    warnings: list[Mistake]
    """What `run` would start with, though it hardly means what was meant."""
    supervised: list[str]
    """The protocols that are intercepted, allowed or denied; empty with mistakes."""
    unsupervised: list[str]
    """Those with a filter that no rule names: they pass as ordinary traffic."""


class StepRow(Struct, frozen=True, kw_only=True):
    """One question on the way to a decision."""

    question: str
    """`client-network`, `relation`, `rule`, `controls`, or the key of a limit."""
    outcome: Literal["found", "passed-over", "within", "refused"]
    answer: str
    rule: str | None
    value: str | None
    """Of a limit: how much is granted."""
    used: str | None
    """Of a limit: how much is used, or asked for."""


class Explained(Document, frozen=True, kw_only=True):
    """What would be decided about a connection, and a bind that follows from it."""

    allowed: bool
    reason: str
    """The code of the first step that says no, or of the rule that allows."""
    meaning: str
    remedy: str
    key: str | None
    """The configuration key to change; None when there is none."""
    rule: str | None
    relation: str | None
    client_network: str | None
    peer_network: str | None
    interception: str
    """How the connection would reach the gateway."""
    worker: int | None = None
    """The worker that serves the client, by its number in `status`; None of a file."""
    would_open: str | None
    """What the bind would open; None when none was asked about, or when it is refused."""
    remarks: list[str]
    """What the filter of the protocol says about the rule that allows."""
    steps: list[StepRow]


class Reloaded(Document, frozen=True, kw_only=True):
    """What became of `reload`."""

    file: str
    valid: bool
    """Whether the file is in force now; otherwise nothing has changed."""
    errors: list[Mistake]
    filters: list[str]
    """The filters that run now; empty when nothing has changed."""


class TakeoverBegun(Document, frozen=True, kw_only=True):
    """The gateway hands over to the one that has asked, and ends."""

    pid: int


class UpgradeBegun(Document, frozen=True, kw_only=True):
    """The gateway has started the one that is to take its place.

    `status` says when it has (`pid`), and as long as it may (`successor`).
    """

    pid: int


class DrainBegun(Document, frozen=True, kw_only=True):
    """The gateway accepts nothing more and ends when its transfers have."""

    drain_seconds: float
    """After this long it resets what still runs."""


def mistakes_of(errors: Iterable[ConfigError]) -> list[Mistake]:
    """Return the mistakes in a configuration as rows."""
    return [Mistake(file=e.file, line=e.line, problem=e.problem) for e in errors]


def _terms(rule: Terms) -> dict[str, Any]:
    """Return the fields of `TermsRow`: those of the rule, as text where no plain value."""
    return {one.name: getattr(rule, one.name) for one in fields(Terms)} | {
        "allowed_addresses": rule.allowed_addresses.name.lower().replace("_", "-"),
        "client_ports": str(rule.client_ports),
        "external_ports": None if rule.external_ports is None else str(rule.external_ports),
        "peers": rule.peers.value,
        "filters": {name: dict(settings) for name, settings in rule.filters.items()},
    }


def rules_of(policy: Policy) -> Rules:
    """Return `policy` as a document."""
    return Rules(
        networks=[
            NetworkRow(
                name=network.name,
                interfaces=list(network.interfaces),
                addresses=[str(prefix) for prefix in network.addresses],
            )
            for network in policy.networks
        ],
        network_rules=[
            NetworkRuleRow(
                source=rule.source,
                destination=rule.destination,
                ipv4=rule.ipv4 and str(rule.ipv4),
                ipv6=rule.ipv6 and str(rule.ipv6),
            )
            for rule in policy.network_rules
        ],
        access_rules=[
            AccessRuleRow(
                name=rule.name,
                action=str(rule.action),
                protocols=sorted(rule.protocols),
                sources=list(rule.sources.texts),
                destinations=list(rule.destinations.texts),
                users=None if rule.users is None else sorted(rule.users),
                schedule=None if rule.schedule is None else rule.schedule.name,
                frontends=None if rule.frontends is None else sorted(rule.frontends),
                **_terms(rule),
            )
            for rule in policy.access_rules
        ],
        publishing_rules=[
            PublishingRuleRow(
                name=rule.name,
                protocol=rule.protocol,
                listen=str(rule.listen),
                server=str(rule.server),
                sources=None if rule.sources is None else list(rule.sources.texts),
                full_proxy=rule.full_proxy,
                **_terms(rule),
            )
            for rule in policy.publishing_rules
        ],
    )
