"""Reasons of calls: a filter, or a program that uses the API, asked for what cannot mean anything.

Their readers are authors of filters; an operator who meets one has met a fault in a filter.
"""

from typing import Final

from sallyport import limits
from sallyport.reasons.reason import Group, Reason


def _call(code: str, happened: str, remedy: str) -> Reason:
    return Reason(
        code,
        Group.CALL,
        happened,
        "The call was refused; nothing was opened and nothing was changed.",
        remedy,
    )


_CHECK_FIRST = "Nothing; ask for it before the end."
_EVENT = "Call it from on_event, for the connection that the event is about."

_ENDPOINT, _ADDRESS, _DATA_FILTER = "an Endpoint", "an IPv4Address or IPv6Address", "a DataFilter"
_NUMBER, _SECONDS = "a whole number", "a number of seconds"

# The arguments of the API's calls: what each must be.
_WANTED: Final = {
    "address": _ENDPOINT,
    "addresses": "a sequence of Endpoint",
    "asker": "an Asker",
    "backlog": _NUMBER,
    "client": f"{_ENDPOINT}, or for a session {_ADDRESS}",
    "client_address": _ENDPOINT,
    "client_addresses": "a sequence of Endpoint",
    "close_with_primary": 'either "withdraw" or "kill"',
    "count": _NUMBER,
    "data": "bytes",
    "data_filter": _DATA_FILTER,
    "event": "a class of event",
    "events": "classes of events",
    "first": _ADDRESS,
    "flags": "a combination of BindFlags",
    "frontend": "a Frontend, or None",
    "host": _ADDRESS,
    "idle": f"{_SECONDS}, or None",
    "internal_address": f"{_ADDRESS}, or None",
    "ip_filter": "an IpFilter, or None",
    "is_held": "True or False",
    "items": f"{_ADDRESS}, a network, or the text of one",
    "last": _ADDRESS,
    "lifetime": f"{_SECONDS}, or None",
    "local_address": f"{_ENDPOINT}, or None",
    "make": "a function that returns a DataFilter",
    "make_data_filter": "a function that returns a DataFilter",
    "other": "an IpFilter",
    "peer": _ENDPOINT,
    "peer_ports": "a frozenset of numbers, or None",
    "port": f"{_NUMBER}, or None",
    "primary": "a PrimaryConnection, or None",
    "priority": "a value of Priority",
    "protocol": "a ProtocolDefinition, or its UUID",
    "proxy_address": f"{_ENDPOINT}, or None",
    "remote_address": _ENDPOINT,
    "scope": "a Scope",
    "seconds": _SECONDS,
    "session_filter": "a SessionFilter, or None",
    "sources": "a Source",
    "transport": "a member of Transport",
    "user": "a name, or None",
}

REASONS: Final = (
    _call("connection-has-ended", "The connection has ended.", _CHECK_FIRST),
    _call("session-is-over", "The session has ended.", _CHECK_FIRST),
    _call("primary-has-ended", "The control connection has ended.", _CHECK_FIRST),
    _call("bundle-has-ended", "The bundle has ended.", "Begin another bundle."),
    _call(
        "bundle-of-another-session",
        "The bundle belongs to another session than the one that is to bind.",
        "Give a bundle of the same session.",
    ),
    _call("action-is-over", "The permission has been taken back or has ended.", _CHECK_FIRST),
    _call("nothing-more-is-let-in", "The binding has let in all it may.", _CHECK_FIRST),
    _call(
        "not-in-this-state",
        "The connection is not in a state in which this can be done; arming is done once.",
        "Arm a binding once, while it is reserved.",
    ),
    _call(
        "count-of-addresses",
        f"No address was given, or more than {limits.MAX_ADDRESSES_PER_CALL}.",
        "Give as many addresses as ports are wanted.",
    ),
    _call(
        "backlog-out-of-range",
        f"The backlog is below 1 or above {limits.MAX_BACKLOG}.",
        "Leave it out.",
    ),
    _call(
        "an-argument-cannot-be-read",
        "An argument of the local API is no address, prefix or range.",
        "Write addresses as 10.0.0.8:1553 or [2001:db8::8]:1553.",
    ),
    _call(
        "what-stays-needs-a-lifetime",
        "A binding was to outlive its process, and for ever.",
        "Give it a lifetime.",
    ),
    _call("no-port-with-this-index", "The binding has no port of this index.", "Count from 0."),
    _call(
        "peer-ports-are-of-the-whole-binding",
        "The ports of peers were to be replaced for one port of a binding.",
        "Leave the index out.",
    ),
    _call(
        "other-worker",
        "Another process of the gateway serves this client.",
        "Ask at the socket that the answer names.",
    ),
    _call(
        "lifetime-is-not-positive",
        "A life of no seconds was asked for.",
        "Give a number above zero, or leave it out.",
    ),
    _call(
        "idle-time-is-too-short",
        f"A binding was to end after less than {limits.MIN_IDLE_SECONDS} s of silence.",
        f"Give {limits.MIN_IDLE_SECONDS} or more, or leave it out.",
    ),
    _call(
        "only-datagrams-are-kept",
        "A filter wants to keep a connection over TCP, which lives until one side ends it.",
        "Keep conversations over UDP alone.",
    ),
    _call(
        "close_with_primary-is-no-way-to-close",
        "A binding was to end with its primary in another way than by withdraw or kill.",
        'Give "withdraw" or "kill".',
    ),
    _call(
        "addresses-of-two-families",
        "IPv4 and IPv6 addresses stand in one call.",
        "Make one call for each family.",
    ),
    _call(
        "client-port-is-zero",
        "A client address has port 0.",
        "Give the port; or a wholly zero address when nothing is known yet.",
    ),
    _call(
        "a-forced-port-needs-a-single-address",
        "A port was asked for together with several addresses.",
        "Give port 0 for a run of ports, or one client address.",
    ),
    _call(
        "an-emulated-bind-needs-both-addresses",
        "An emulated bind lacks the client's address or the proxy address.",
        "Give both, with their ports.",
    ),
    _call(
        "timeout-excludes-allow-multiple",
        "TIMEOUT and ALLOW_MULTIPLE stand together.",
        "Give one of the two flags.",
    ),
    _call("bidirectional-is-for-udp", "BIDIRECTIONAL was given for TCP.", "Leave the flag out."),
    _call(
        "flags-mean-nothing-here",
        "A flag was given that means nothing in this call.",
        "See the flags that the call's documentation names.",
    ),
    _call(
        "proxy-mode-is-inherited-from-the-primary",
        "PROXY_MODE was given where the primary connection has no full proxy.",
        "Leave the flag out: full_proxy of a publishing rule decides.",
    ),
    _call(
        "proxy-mode-needs-a-nat-relation",
        "PROXY_MODE was given on a routed relation.",
        'Leave the flag out, or relate the two networks by "nat".',
    ),
    _call(
        "not-an-address-of-the-gateway",
        "The proxy address is not one of the gateway's.",
        "Give no proxy address, or one that `ip address` shows on the gateway.",
    ),
    _call(
        "a-routed-address-must-be-known",
        "On a routed relation the client's own address is where peers connect, and it is zero.",
        "Give the client address, or a proxy address with the port.",
    ),
    _call(
        "routed-port-is-the-clients-own",
        "On a routed relation the external port is the client's own; another one was asked for.",
        "Ask for port 0 or for the client's port.",
    ),
    _call(
        "wished-port-is-not-ours-to-give",
        "The client insists on an external port or address that no mapping may have.",
        "Ask for a port of port_range at the gateway's external address, or for any port.",
    ),
    _call(
        "routed-address-is-the-proxy-address",
        "On a routed relation the client address must be the proxy address.",
        "Give the proxy address.",
    ),
    _call(
        "internal-address-needed",
        "Connections were to be redirected, and no address of the gateway inside is known.",
        "Give internal_address.",
    ),
    _call(
        "proxy-address-needed-without-a-primary",
        "There is no control connection that says which external address to use.",
        "Give proxy_address.",
    ),
    _call(
        "client-address-was-given",
        "The client address of this connection is known already.",
        "Call set_client_address once.",
    ),
    _call(
        "not-a-client-address",
        "The address has port 0 or is of another family.",
        "Give an address and a port of the binding's family.",
    ),
    _call(
        "not-a-peer-address",
        "The address has port 0 or is of another family.",
        "Give an address and a port of the binding's family.",
    ),
    _call("not-a-client", "The address is the gateway's own.", "Give a client's address."),
    _call(
        "not-a-socket-name",
        "The address has port 0 or is of another family.",
        "Give an address of the gateway with its port.",
    ),
    _call("a-count-below-zero", "A count of bytes is negative.", "Give 0 or more."),
    _call(
        "the-port-must-be-known",
        "A bind is to be approved for port 0.",
        "Give the port that the client has bound.",
    ),
    _call(
        "the-client-bound-nothing-there",
        "The client has not bound this port.",
        "Approve after the client's bind, for the port that it got.",
    ),
    _call(
        "send-to-is-for-udp",
        "The method send_to was called on a TCP connection.",
        "Use a UDP binding.",
    ),
    _call(
        "no-port-is-held",
        "The connection is emulated and holds no port to send from.",
        "Send by the emulating filter itself.",
    ),
    _call(
        "no-peer-connects-to-an-emulated-port",
        "An address filter was set on an emulated connection.",
        "The emulating filter decides itself what it delivers.",
    ),
    _call(
        "the-port-is-not-open-yet",
        "A flow is to be delivered to a bind that is not armed.",
        "Deliver after EstablishedConnection can happen: once it is armed.",
    ),
    _call(
        "the-client-address-is-not-known",
        "A flow is to be delivered, and where the client listens is not known.",
        "Wait for set_client_address.",
    ),
    _call("this-peer-is-connected", "This peer's flow runs already.", "Deliver it once."),
    _call(
        "one-connection-only",
        "The binding lets in one connection, and there was one.",
        "Bind with ALLOW_MULTIPLE.",
    ),
    _call("a-filter-has-the-bind", "Another filter emulates the bind.", "Let it have it."),
    _call("a-filter-plays-the-server", "Another filter plays the server.", "Let it have it."),
    _call(
        "the-connection-is-not-emulated",
        "The call is for emulated connections only.",
        "Emulate the connection first.",
    ),
    _call(
        "not-in-a-bind-event-of-this-connection",
        "A bind can be emulated only while the filter is told of it.",
        _EVENT,
    ),
    _call(
        "not-in-connect-tcp-of-this-connection",
        "A connection can be emulated only in ConnectTcp of this connection.",
        _EVENT,
    ),
    _call(
        "not-in-an-event-of-this-connection",
        "A connection can be denied or get a data filter only while the filter is asked about it.",
        _EVENT,
    ),
    _call(
        "one-data-filter-for-many-flows",
        "Many flows may come of this bind, and one data filter sees one flow.",
        "Set a factory with Session.set_data_filter_factory and ALLOW_MULTIPLE.",
    ),
    *(
        _call(
            f"wrong-type-of-{name}",
            f"The argument {name} has a type that means nothing here.",
            f"Give {wanted}.",
        )
        for name, wanted in _WANTED.items()
    ),
    _call("no-flow-in-this-event", "No bytes flow that a filter could see.", _EVENT),
    _call("the-connection-has-a-name", "The address was given before.", "Give it once."),
    _call(
        "the-connection-has-no-name",
        "An emulated connection was given no address.",
        "Call set_socket_name first.",
    ),
    _call(
        "the-connection-is-not-there-yet",
        "The server has not answered yet.",
        "Ask from a data filter, not from an event.",
    ),
    _call(
        "the-connection-has-not-started",
        "A deadline was set before the connection started.",
        "Set deadlines from the data filter's methods.",
    ),
    _call(
        "the-connection-has-started",
        "A data filter was attached after the start.",
        "Attach it in the event that announces the connection.",
    ),
    _call(
        "data-filter-was-attached-already",
        "This data filter is attached to a connection.",
        "Make a data filter for each connection.",
    ),
    _call("not-attached", "The data filter is attached to nothing.", "Attach it first."),
    _call("not-a-time", "The number of seconds is not a number.", "Give seconds, or None."),
    _call(
        "not-an-event-to-register-for",
        "The class is no event that filters can register for.",
        "See the events in the filter API.",
    ),
    _call(
        "unknown-protocol",
        "No filter that runs defines this protocol.",
        "Switch the filter on that defines it; `sallyport filters list` shows them.",
    ),
    _call(
        "no-peer-has-connected",
        "The peer's address was asked for before a peer connected.",
        "Ask in EstablishedConnection or later.",
    ),
    _call(
        "idle-time-not-offered",
        "The kernel path has one idle time for all UDP bindings, and another was asked for.",
        "Ask for that time, or for user mode.",
    ),
    _call("target-is-known", "The pinhole has a client already.", "Give the client once."),
)
