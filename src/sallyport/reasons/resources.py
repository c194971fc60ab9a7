"""Reasons of resources: a limit is reached, a port is taken, the kernel has no room."""

from typing import Final

from sallyport import limits
from sallyport.reasons.reason import Group, Reason


def _resource(code: str, happened: str, means: str, remedy: str, key: str | None = None) -> Reason:
    return Reason(code, Group.RESOURCES, happened, means, remedy, key)


_NOT_OPENED = "Nothing was opened; the protocol's user sees that a transfer could not begin."
_RESET = "The client's connection was reset."

REASONS: Final = (
    _resource(
        "too-many-controls",
        "The client, or one outside client of a published server, holds as many control"
        " connections as one may, or has as many waiting for their turn.",
        "The new connection was reset; those it holds go on.",
        "Look for a client that does not close its connections (`sallyport sessions list`). The"
        " limits are fixed: MAX_CONTROLS_PER_CLIENT and MAX_CONTROLS_PER_PEER.",
    ),
    _resource(
        "too-many-connections",
        "All clients together hold as many control connections as the descriptors of this process"
        " allow; a part of them is kept back for transfers and for the operator.",
        "The new connection was reset; those that stand go on.",
        "Raise the limit of open files (LimitNOFILE of the unit, `ulimit -n`), or look for hosts"
        " that hold many (`sallyport sessions list`).",
    ),
    _resource(
        "too-many-bindings-of-all",
        "All clients together hold as many bindings as there may be.",
        "The new one was refused; those that stand go on.",
        "Look for the clients that hold most (`sallyport bindings list`). The limit is fixed:"
        " MAX_BINDINGS.",
    ),
    _resource(
        "too-many-conversations",
        "All clients together hold as many datagram conversations as there may be.",
        "The request was dropped; a client of TFTP asks again by itself.",
        "Look for a host that sends requests with many sources. The limit is fixed:"
        " MAX_DATAGRAM_CONVERSATIONS.",
    ),
    _resource(
        "too-many-calls",
        "One telephone has as many calls with one host outside as it may.",
        "The new call was answered with 503 and Retry-After; calls under way go on.",
        "The limit is fixed: MAX_SIP_CALLS.",
    ),
    _resource(
        "too-many-contacts",
        "One telephone is called at as many places as it may be.",
        "The request was answered with 503 and Retry-After; registrations and calls go on.",
        "The limit is fixed: MAX_SIP_CONTACTS.",
    ),
    _resource(
        "too-many-transactions",
        "One telephone, or its server, has as many requests without an answer as it may.",
        "The new one was answered with 503, or, if the server's, opens nothing.",
        "Look for a host that floods. The limit is fixed: MAX_SIP_TRANSACTIONS.",
    ),
    _resource(
        "too-many-rtsp-sessions",
        "One RTSP connection has as many sessions, or streams in one, as it may.",
        "The SETUP was answered with 453; what plays goes on.",
        "Let the client end what it does not show. The limits are fixed: MAX_RTSP_SESSIONS and"
        " MAX_RTSP_SETUPS.",
    ),
    _resource(
        "too-many-rtsp-requests",
        "One RTSP connection has as many requests without an answer as it may.",
        "The request was answered with 453.",
        "Look at the server: it does not answer. The limit is fixed: MAX_RTSP_PIPELINE.",
    ),
    _resource(
        "too-many-dcc-channels",
        "The client has as many open offers and transfers by DCC as one may.",
        "The new offer was not passed on, and the client got a notice.",
        "Wait for one to end, or for a minute: an offer that was not taken is over then. The limit"
        " is fixed: MAX_DCC_CHANNELS.",
    ),
    _resource(
        "too-many-datagrams-wait",
        "More datagrams of one conversation came than may wait while its filter waits, or more of"
        " one host than may wait for their turn.",
        "What came beyond that was dropped; who sent it sends it again, as of any datagram that is"
        " lost. Other hosts are served as before.",
        "Look for a host that floods. The limits are fixed: MAX_WAITING_DATAGRAMS,"
        " MAX_WAITING_DATAGRAM_BYTES and MAX_QUEUED_DATAGRAMS.",
    ),
    _resource(
        "too-many-private-sessions",
        "A filter asked for more sessions of its own for one client than there may be.",
        "The filter's call was refused.",
        "The filter's author ends such sessions when they are no longer needed.",
    ),
    _resource(
        "no-free-port",
        "Every external port of the range is held, or was in use within the last two minutes.",
        _NOT_OPENED,
        "Widen port_range, or find out which client holds the ports (`sallyport bindings list`).",
        "gateway.port_range",
    ),
    _resource(
        "host-occupies-our-ports",
        "Programs of this host hold many ports of port_range.",
        _NOT_OPENED,
        "Move port_range away from the ports of those programs (`ss -ltnu` shows them).",
        "gateway.port_range",
    ),
    _resource(
        "port-held-by-local-program",
        "A program of this host listens on the external port that was drawn or asked for.",
        "The gateway draws another one, unless this one was asked for.",
        "Move port_range away from the ports of that program (`ss -ltnu` shows them).",
        "gateway.port_range",
    ),
    _resource(
        "port-already-reserved",
        "The external port that was asked for is held by the gateway already.",
        "The request for this very port was refused.",
        "Ask for another port, or for any.",
    ),
    _resource(
        "port-is-bound",
        "The external port that was asked for belongs to another binding.",
        "The request for this very port was refused.",
        "Ask for another port, or for any.",
    ),
    _resource(
        "proxy-port-taken",
        "The external port that was asked for is taken.",
        "The request for this very port was refused.",
        "Ask for another port, or for any.",
    ),
    _resource(
        "pinhole-exists",
        "Another binding lets peers in at the same address and port.",
        _NOT_OPENED,
        "On a routed relation two clients cannot be reached at one address and port: end the"
        " older binding (`sallyport bindings kill`).",
    ),
    _resource(
        "no-mark-left",
        "Every number that a binding can carry in the connection mark is in use.",
        _NOT_OPENED,
        "End bindings that are not needed (`sallyport bindings list`).",
    ),
    _resource(
        "nftables-set-full",
        "The kernel's set of pinholes has no room for another element.",
        _NOT_OPENED,
        "End bindings that are not needed (`sallyport bindings list`).",
    ),
    _resource(
        "no-descriptor-for-socket",
        "The process may not open another file descriptor.",
        _NOT_OPENED,
        "Raise the limit of open files of the service (LimitNOFILE in its unit).",
    ),
    _resource(
        "address-not-on-this-host",
        "The address is not one of this host any more.",
        _NOT_OPENED,
        "See that the interface has its address (`ip address`), then `sallyport reload`.",
    ),
    _resource(
        "no-user-data-path",
        "A filter needs to see the bytes, and this gateway has no user-mode data path.",
        _NOT_OPENED,
        'Write data_path = "auto" or "user".',
        "gateway.data_path",
    ),
    _resource(
        "foreign-address-needs-transparency",
        "Peers would have to be accepted at an address that is not the gateway's, which needs"
        " interception, and this gateway has none.",
        _NOT_OPENED,
        'Start the gateway with CAP_NET_ADMIN, or relate the two networks by "nat".',
        "network_rules.ipv4",
    ),
    _resource(
        "foreign-address-needs-cap-net-admin",
        "A socket with an address of another host needs CAP_NET_ADMIN.",
        _NOT_OPENED,
        "Start the gateway as root, or with AmbientCapabilities=CAP_NET_ADMIN in its unit.",
    ),
    _resource(
        "could-not-open",
        "The pinhole could not be opened; the record binding.refused beside it says why.",
        "What was reserved for it was given back.",
        "See the reason of that record.",
    ),
    _resource(
        "filter-floods",
        "A filter sent more at once than the other side takes.",
        "The session of this client was ended, to keep memory for the others.",
        "Report it to the filter's author: output must follow input.",
    ),
    _resource(
        "server-timed-out",
        f"The server did not answer within {limits.CONNECT_TIMEOUT_SECONDS:g} seconds.",
        _RESET,
        "Connect from the gateway itself: if that hangs as well, the host is down or a firewall in"
        " between drops the connection.",
    ),
    _resource(
        "server-refused-connection",
        "The server's host answered that nothing listens at this port.",
        _RESET,
        "See that the server runs and listens at the address and port of the record.",
    ),
    _resource(
        "no-route-to-server",
        "This host knows no way to the server's network, or a router on it knows none.",
        _RESET,
        "See the routes of the gateway (`ip route get ADDRESS`).",
    ),
    _resource(
        "server-unreachable",
        "The server could not be reached; `error` in the record has the kernel's words.",
        _RESET,
        "Connect from the gateway itself to see whether the server answers.",
    ),
)
