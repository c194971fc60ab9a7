"""Reasons of ends: why a connection, a binding or a permission is over."""

from typing import Final

from sallyport.reasons.reason import Group, Reason

_NORMAL = "Nothing is wrong."


def _end(
    code: str, happened: str, means: str, remedy: str = _NORMAL, key: str | None = None
) -> Reason:
    return Reason(code, Group.END, happened, means, remedy, key)


_NOTHING_NEW = "Nothing new may connect; a transfer under way finishes."
_TIME_IS_OVER = (
    "Nothing new may connect. A connection under way finishes; datagrams are forwarded no longer."
)

REASONS: Final = (
    _end("finished", "The transfer came to its end.", "The binding is used up."),
    _end(
        "gone-before-adoption",
        "The transfer of an earlier process ended in the moment in which it was found.",
        "It is over; how many bytes it carried is not known.",
    ),
    _end(
        "handed-over",
        "The next worker, or the next gateway, has the mapping from now on.",
        "It goes on there, at the same port.",
    ),
    _end("closed", "Both sides closed the connection.", "It ended in order."),
    _end("client-closed", "The client closed its control connection.", _NOTHING_NEW),
    _end("server-closed", "The server closed its control connection.", "It ended in order."),
    _end(
        "client-reset",
        "The client reset its control connection, or its host did.",
        "The connection to the server was reset as well.",
        "Look at the client if it was not told to stop.",
    ),
    _end(
        "server-reset",
        "The server reset its control connection, or its host did.",
        "The client's connection was reset as well.",
        "Look at the server's own log.",
    ),
    _end(
        "max-lifetime-reached",
        "The binding is as old as max_lifetime of its rule lets one become.",
        _TIME_IS_OVER,
        "Raise max_lifetime of the rule if bindings should live longer.",
    ),
    _end(
        "max-idle-reached",
        "Nothing has passed through the binding for as long as max_idle of its rule allows.",
        "What ran through it was reset as well.",
        "Raise max_idle of the rule if bindings should live longer in silence.",
    ),
    _end(
        "idle-time-is-over",
        "Nothing has passed through the binding for as long as its owner allowed.",
        "What ran through it was reset as well.",
        "A program that still needs the port asks again; look whether it runs.",
    ),
    _end(
        "timed-out",
        "No peer connected within a minute.",
        "The pinhole is closed; the transfer did not begin.",
        "The record says by `unused` what came to the port, and `sallyport reasons` what to do:"
        " another firewall may drop packets in front of this gateway, or on it.",
    ),
    _end(
        "nothing-came",
        "Nothing came to the pinhole.",
        "It closed unused; what it was opened for did not begin.",
        "See whether the peer sends at all, and whether a firewall in front of this gateway drops"
        " it; what is on this host, `sallyport doctor` finds.",
    ),
    _end(
        "only-a-stranger-came",
        "A packet came to the port from an address that may not use the pinhole, and none from one"
        " that may.",
        "It was dropped, and the pinhole closed unused.",
        "On the kernel's path the record guard.dropped whose `to` is this port says who it was. If"
        " that is another address of the peer, let the rule say so.",
        "access_rules.peers",
    ),
    _end(
        "dropped-by-another-firewall",
        "A peer came and was let in, and other rules of this host dropped it on the way to the"
        " client.",
        "The pinhole closed unused; the transfer did not begin.",
        "`sallyport doctor` names the table that drops, and says what to type: what we let in"
        " carries bit 31 of the conntrack mark.",
    ),
    _end(
        "client-did-not-answer",
        "A peer came and was passed on to the client, and no connection came of it.",
        "The pinhole closed unused.",
        "Look at the client: nothing listens there, its own firewall drops what comes, or its"
        " answers do not pass this host, which `sallyport doctor` finds.",
    ),
    _end(
        "idle",
        "Nothing was said for as long as the limit allows.",
        "The connection or binding was ended, because its owner is probably gone.",
        "Nothing, unless the program was still waiting: then let it send keep-alives.",
    ),
    _end(
        "replaced",
        "The client asked for another data connection before it used this one.",
        _NOTHING_NEW,
    ),
    _end("login-restarted", "The client began to log in again.", _NOTHING_NEW),
    _end(
        "server-refused",
        "The server refused the command that the binding was made for.",
        "The binding was withdrawn before anything could connect.",
        "See the server's answer in the client.",
    ),
    _end("refused", "The request was refused.", "What was reserved for it was given back."),
    _end("primary-ended", "The control connection it belongs to has ended.", _NOTHING_NEW),
    _end("cancelled", "The filter that asked for the permission took it back.", _NOTHING_NEW),
    _end(
        "deleted-by-client",
        "The client deleted its mapping, by PCP or NAT-PMP.",
        _TIME_IS_OVER,
    ),
    _end(
        "lifetime-is-over",
        "The client did not renew its binding in time.",
        _TIME_IS_OVER,
        "A program that still needs the port asks again by itself; look whether it runs.",
    ),
    _end(
        "owner-has-gone",
        "The process that made the binding by the local API has ended, or has hung up.",
        "What ran through it was reset as well.",
        "Write stays = true with a lifetime for a binding that is to outlive its process.",
    ),
    _end("withdrawn-by-owner", "The process that made the binding closed it.", _NOTHING_NEW),
    _end(
        "killed-by-owner",
        "The process that made the binding ended it.",
        "What ran through it was reset as well.",
    ),
    _end(
        "external-address-has-gone",
        "The gateway has no longer the external address of the mapping, or of the conversation.",
        "Clients of PCP are told at once, and ask for another; what is said next in a conversation"
        " over UDP leaves from another address.",
    ),
    _end(
        "front-end-switched-off",
        "The configuration no longer has the section of this front end.",
        _TIME_IS_OVER,
        "Write [frontends.pcp] again if clients should ask for ports themselves.",
    ),
    _end("withdrawn", "The filter that asked for the binding took it back.", _NOTHING_NEW),
    _end(
        "killed",
        "The filter that asked for it ended it.",
        "Both ends of what ran were reset.",
        "See the documentation of that filter.",
    ),
    _end(
        "killed-by-operator",
        "An operator ended it with `sallyport … kill`.",
        "Both ends of what ran were reset.",
    ),
    _end(
        "gateway-stopping",
        "The gateway is being stopped.",
        "Both ends of what still ran are reset, and nothing new may connect.",
        "Start the gateway again.",
    ),
    _end(
        "closed-by-filter",
        "A filter closed the connection in order.",
        "What was sent before has arrived.",
        "See the documentation of that filter.",
    ),
    _end(
        "reset-by-filter",
        "A filter reset the connection.",
        "Both ends were reset.",
        "See the documentation of that filter.",
    ),
    _end(
        "deadline-passed",
        "A time that a filter had set passed, and the filter does nothing else about it.",
        "The connection was reset.",
        "See the documentation of that filter.",
    ),
    _end(
        "filter-failed",
        "A filter failed; the record filter.failed before this one says how.",
        "This connection was ended, with what was opened for it; the client's others go on.",
        "Report the failure to the filter's author; `sallyport filters list` shows a filter that"
        " was switched off.",
    ),
    _end(
        "internal-error",
        "The gateway itself failed; the record before this one has the error.",
        "This one connection or command was ended; everything else goes on.",
        "Report the record: it is a fault of the program.",
    ),
    _end(
        "ended-while-arming",
        "The binding was ended while it was being opened.",
        "Nothing is open.",
    ),
    _end(
        "ended-meanwhile",
        "The connection ended while it was being changed.",
        "Nothing is open.",
    ),
    _end(
        "ended-while-filters-were-asked",
        "A filter ended the binding when it was asked about it.",
        "Nothing was opened.",
        "See the documentation of the filters that are told of bindings.",
    ),
    _end(
        "begins-with-tls",
        "The connection speaks TLS from its first byte: the gateway reads nothing of it.",
        "Data connections of this session cannot be let in: active transfers fail, and passive"
        " ones work only where outbound connections are free, or at the ports of passive_range.",
        "Use passive transfers, and write the server's passive ports as passive_range.",
        "filters.ftp.passive_range",
    ),
    _end(
        "auth-tls",
        "Client and server agreed on TLS: from here on the gateway reads nothing.",
        "Data connections of this session cannot be let in: active transfers fail, and passive"
        " ones work only where outbound connections are free, or at the ports of passive_range.",
        "Use passive transfers, and write the server's passive ports as passive_range; or write"
        ' tls = "refuse".',
        "filters.ftp.passive_range",
    ),
    _end(
        "rule",
        "A rule of a declarative filter says that the rest is not to be read.",
        "Lines pass unread; nothing more is opened for this connection.",
    ),
)
