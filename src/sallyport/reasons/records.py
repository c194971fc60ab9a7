"""Every event of the log: what its record says, and by which fields.

`time`, `level` and `event` stand in each record. A warning or an error with a reason also has
`meaning` and `remedy`, in the words of the reason.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

_PARTIES = ("session", "connection", "client", "server", "protocol", "rule")
_BOUND = ("protocol", "session", "binding", "rule", "client", "proxy", "peers")
_SUMMARY = (*_PARTIES, "reason", "seconds", "flows", "unused", "explanation")


class Record(NamedTuple):
    """What one event says."""

    meaning: str
    fields: tuple[str, ...] = ()


FIELDS: Final[Mapping[str, str]] = {
    "session": "The session, by its id: all that belongs to one client.",
    "connection": "The control connection, by its id.",
    "binding": "The binding, by its id.",
    "client": "Who asked: address and port of the connection's client, or the client's address."
    " Of binding.armed and binding.reserved: where the client listens.",
    "server": "Whom the client asked: address and port.",
    "peer": "The host that connected to a binding.",
    "protocol": "The protocol, as rules name it.",
    "rule": "The access or publishing rule that decided.",
    "relation": "How the client's network reaches the server's: nat or route.",
    "reason": "A reason code; `sallyport reasons CODE` explains it.",
    "code": "The class of the error, or the number that the protocol answered with.",
    "error": "The words of the kernel or of the code that failed.",
    "verb": "The command that was refused.",
    "named": "What was asked for: the addresses of a bind, the argument of a command.",
    "proxy": "The external address and port of a binding.",
    "peers": "The addresses that may connect.",
    "filter": "The filter concerned.",
    "seconds": "How long it lasted.",
    "flows": "How many peers or clients connected.",
    "unused": "Of what no peer used: what came to it, as a reason code.",
    "transfers": "How many connections came through what was opened for it.",
    "explanation": "What the filter that ended it has to say.",
    "from_peer_bytes": "Bytes that came from peers: payload, without headers, on every data path.",
    "to_peer_bytes": "Bytes that went to peers.",
    "from_client_bytes": "Bytes that came from the client.",
    "to_client_bytes": "Bytes that went to the client.",
    "to": "Where it was going.",
}
"""The fields whose meaning is the same in every record."""

RECORDS: Final[Mapping[str, Record]] = {
    # control connections
    "connect.accepted": Record("A control connection runs.", (*_PARTIES, "relation")),
    "connect.closed": Record(
        "A control connection is over: the summary of it.",
        (*_PARTIES, "reason", "seconds", "transfers"),
    ),
    "connect.refused": Record(
        "A client may not use a protocol towards a server.",
        (*_PARTIES[2:], "nearest_rule", "user", "reason"),
    ),
    "connect.denied": Record(
        "A filter denied a control connection.", (*_PARTIES, "reason", "filter")
    ),
    "connect.failed": Record("The server was not reached.", (*_PARTIES, "reason", "error")),
    "socks.refused": Record(
        "A client asked by SOCKS for what it does not get; what the rules say of a server is in"
        " connect.refused.",
        ("client", "reason", "user", "command", "host"),
    ),
    # bindings and transfers
    "binding.reserved": Record("A port is held; nothing can connect yet.", _BOUND),
    "binding.armed": Record("A pinhole is open.", _BOUND),
    "binding.established": Record("A peer has connected.", ("session", "binding", "peer")),
    "binding.attempt_failed": Record(
        "A peer tried to connect and the client did not take it.", ("session", "binding", "peer")
    ),
    "binding.closed": Record(
        "A binding is over: the summary of its transfer. A warning when a filter blocked it.",
        (*_SUMMARY, "binding", "proxy", "peer", "from_peer_bytes", "to_peer_bytes"),
    ),
    "binding.refused": Record(
        "A bind was refused; nothing was opened.",
        (*_PARTIES, "binding", "named", "code", "reason", "error"),
    ),
    "binding.denied": Record(
        "A filter denied a bind; binding.refused follows.",
        (*_PARTIES, "binding", "reason", "filter"),
    ),
    "binding.not_armed": Record(
        "The agreement of an FTP dialogue came to nothing.", (*_PARTIES, "reason")
    ),
    "binding.emulated": Record(
        "A filter takes the place of a port.", ("session", "binding", "filter")
    ),
    "flow.denied": Record(
        "A filter denied a peer that had come.", (*_PARTIES, "proxy", "peer", "reason", "filter")
    ),
    "flow.turned_away": Record(
        "A peer came while its binding carried as many flows as its rule lets it, in user mode.",
        (*_PARTIES, "proxy", "peer", "reason"),
    ),
    "connect.established": Record(
        "A client used a permission: a passive transfer runs.",
        ("session", "connection", "client", "server"),
    ),
    "connect.attempt_failed": Record(
        "A client tried to use a permission and the server did not answer.",
        ("session", "connection", "client", "server"),
    ),
    "connect.secondary_closed": Record(
        "A passive transfer or its permission is over: the summary of it.",
        (*_SUMMARY, "to", "from_client_bytes", "to_client_bytes"),
    ),
    "lease.lost": Record(
        "A mapping that a client had asked for could not be made again by the next process; PCP's"
        " epoch tells the client.",
        ("client", "proxy", "reason"),
    ),
    "transfer.adopted": Record(
        "A transfer that an earlier process let in was found, and is watched again.",
        ("session", "client", "peer"),
    ),
    "transfer.closed": Record(
        "An adopted transfer is over: its sums from its very beginning, the seconds since it was"
        " found.",
        ("session", "client", "peer", "reason", "seconds", "from_client_bytes", "to_client_bytes"),
    ),
    # dialogues
    "command.refused": Record(
        "An FTP command was answered in the server's place.",
        (*_PARTIES, "code", "reason", "verb", "named"),
    ),
    "command.answered": Record(
        "What an FTP client was told of a refused bind.",
        (*_PARTIES[:2], "code", "reason", "verb", "named"),
    ),
    "passive.refused": Record(
        "A server's reply to PASV or EPSV could not be used.", (*_PARTIES, "reason")
    ),
    "reply.missing": Record(
        "The server answered less than it was asked.", (*_PARTIES, "reason", "commands")
    ),
    "stream.opaque": Record(
        "From here on the gateway reads nothing of the connection.",
        (*_PARTIES[:2], "reason", "dropped_lines", "consequence"),
    ),
    "range.opened": Record(
        "A client speaks TLS, and the passive ports of its server are open to it.",
        (*_PARTIES[:2], "ports"),
    ),
    "range.refused": Record(
        "A client speaks TLS, and the passive ports of its server could not be opened to it.",
        (*_PARTIES, "reason"),
    ),
    "stream.clear_again": Record("The connection is in plain text again, and read.", _PARTIES[:2]),
    "protocol.foreign": Record(
        "A connection does not begin like its protocol.", (*_PARTIES, "who", "found")
    ),
    "line.refused": Record("A line was refused by a declarative filter.", (*_PARTIES, "reason")),
    "line.dropped": Record(
        "What became of a line whose bind was refused.", (*_PARTIES[:2], "reason")
    ),
    "media.refused": Record(
        "Media was refused: the request was answered in the server's place with `code`, or the"
        " server's answer opened nothing.",
        (*_PARTIES, "code", "reason"),
    ),
    "media.answered": Record(
        "What a client was told whose media was not let be.", (*_PARTIES[:2], "code", "reason")
    ),
    "dcc.refused": Record(
        "An offer by DCC was not passed on, and its client got a notice.", (*_PARTIES, "reason")
    ),
    "dcc.answered": Record(
        "What a client was told whose offer was not let be.", (*_PARTIES[:2], "reason")
    ),
    "request.refused": Record(
        "A TFTP request was answered in the server's place.", (*_PARTIES, "code", "reason")
    ),
    "request.answered": Record(
        "What a TFTP client was told of a refused bind.", (*_PARTIES[:2], "code", "reason")
    ),
    "request.odd": Record(
        "A TFTP request that is not quite right was passed on.", (*_PARTIES[:2], "reason")
    ),
    "datagram.dropped": Record("A datagram was dropped.", (*_PARTIES, "reason")),
    "message.dropped": Record("A message in a stream was dropped.", (*_PARTIES, "reason")),
    "datagram.lost": Record("A datagram could not be sent.", (*_PARTIES[:2], "to", "error")),
    # a trace: made only for an operator who looks, and in no log
    "trace.said": Record(
        "A line that one side said or was told; credentials are masked, payload is counted.",
        (*_PARTIES, "sender", "receiver", "text"),
    ),
    "trace.decided": Record(
        "How a request was decided, step by step.",
        (*_PARTIES, "asked", "named", "peers", "steps", "reason"),
    ),
    "trace.carried_out": Record(
        "What a data path was asked to do, and how long it took.",
        (
            *_PARTIES,
            "action",
            "proxy",
            "target",
            "peers",
            "data_path",
            "microseconds",
        ),
    ),
    # filters
    "filter.failed": Record(
        "A filter raised an error; the connection it worked for ends.",
        ("session", "connection", "filter", "error", "place", "traceback"),
    ),
    "frontend.failed": Record(
        "Answering one request of a client at a front end failed in the gateway itself.",
        ("frontend", "client", "error"),
    ),
    "filter.switched_off": Record(
        "A filter failed too often; `client` is for whom, or everyone.", ("filter", "client")
    ),
    # the gateway
    "gateway.started": Record(
        "The gateway is ready.", ("data_path", "networks", "control_socket", "workers")
    ),
    "gateway.limited": Record(
        "The host lacks something, and the gateway does less.", ("to", "lack")
    ),
    "config.doubtful": Record(
        "The configuration says something that hardly means what was meant; `check-config` says the"
        " same.",
        ("file", "line", "problem"),
    ),
    "gateway.reloaded": Record("Another configuration is in force.", ("file", "filters")),
    "gateway.reload_refused": Record("A reload changed nothing.", ("problem",)),
    "gateway.stopping": Record(
        "The gateway begins to stop: transfers may finish.", ("drain_seconds",)
    ),
    "gateway.handed_over": Record(
        "Another gateway, the process `pid`, has taken over; this one ends.", ("pid",)
    ),
    "gateway.not_handed_over": Record(
        "Another gateway wanted to take over and could not; this one goes on.", ("problem",)
    ),
    "gateway.stopped": Record("The gateway has stopped."),
    "gateway.followed": Record(
        "The addresses of the host have changed, and the gateway goes by those there are now.",
        ("addresses",),
    ),
    "gateway.not_followed": Record(
        "The addresses of the host have changed, and the gateway could not follow.", ("problem",)
    ),
    "guard.cuts": Record(
        "Connections that the host forwarded without us do so no more.", ("found", "connections")
    ),
    "guard.degraded": Record("The guard cannot be put in place.", ("problem",)),
    "guard.dropped": Record(
        "The guard drops what a source sends: its first packet in a minute. Of a flood, samples.",
        ("reason", "peer", "to", "transport", "interface"),
    ),
    "guard.drops": Record(
        "What the guard has dropped in a minute, beside the first packets: samples, by source.",
        ("sampled", "sources", "most"),
    ),
    "guard.followed": Record("The guard follows interfaces that changed.", ("interfaces",)),
    "guard.repaired": Record(
        "Our tables or settings were changed, and are as they were again. Of a table `found` names"
        " who changed rules just then, with the number of the process as the host counts.",
        ("found",),
    ),
    "worker.ended": Record(
        "A worker process ended; another one takes its place.",
        ("number", "status", "replaced_in_seconds"),
    ),
    "worker.failed": Record("A worker process could not begin.", ("number", "error")),
    "worker.left": Record("A worker that had handed over its clients has ended.", ("number",)),
    "worker.replaced": Record("A new worker process serves.", ("number", "pid")),
    "request.failed": Record(
        "A request to the admin API met a fault of the program.", ("command", "error")
    ),
    "log.repeated": Record(
        "Records of a client that said what others of the same minute said were not written.",
        ("record", "client", "reason", "times"),
    ),
    "daemon.fault": Record("A fault of the program; the gateway goes on.", ("message", "error")),
    "library.complained": Record(
        "A library wrote to Python's logging.", ("library", "message", "error")
    ),
}
"""Each event by its name."""
