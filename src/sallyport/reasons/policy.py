"""Reasons of policy: the rules, and the limits that belong to a rule, say no."""

from typing import Final

from sallyport.reasons.reason import Group, Reason


def _policy(code: str, happened: str, means: str, remedy: str, key: str | None = None) -> Reason:
    return Reason(code, Group.POLICY, happened, means, remedy, key)


REASONS: Final = (
    _policy(
        "allowed-by-rule",
        "A rule allows it.",
        "The request goes on.",
        "Nothing is wrong.",
    ),
    _policy(
        "peer-is-never-served",
        "The client named an address at which no server on the network is: link-local, multicast,"
        " reserved, a cloud's metadata, or another spelling of an address of another network.",
        "Nothing was sent there.",
        "See what the program meant; a name may lead to such an address on purpose.",
    ),
    _policy(
        "wrong-password",
        "A client of SOCKS gave a name and a password that do not belong together.",
        "It was told so, and nothing was opened.",
        "Try the password; `sallyport passwd` makes a new hash for [[users]].",
        "users.password",
    ),
    _policy(
        "no-method-in-common",
        "A client of SOCKS offers no way to prove who it is that is accepted here.",
        "It was told so, and nothing was opened.",
        "Give the program a name and a password, or write another authentication.",
        "frontends.socks.authentication",
    ),
    _policy(
        "denied-by-rule",
        'The first access rule that matches has action = "deny".',
        "The client may not use this protocol towards this peer; nothing was opened.",
        'If it should be allowed, put a rule with action = "allow" above the one that the record'
        " names.",
        "access_rules.action",
    ),
    _policy(
        "no-rule-matched",
        "No access rule or publishing rule matches, and the last word is deny.",
        "The client may not use this protocol towards this peer; nothing was opened.",
        "Add an access rule that names the protocol in protocols and the two networks in from and"
        " to.",
        "access_rules.protocols",
    ),
    _policy(
        "client-is-not-in-from",
        "A rule allows the protocol, and the client is not one of those in its from.",
        "The client may not use this protocol towards this peer; nothing was opened.",
        "Add the client, its network or a set that has it to from of the rule that the record"
        " names.",
        "access_rules.from",
    ),
    _policy(
        "peer-is-not-in-to",
        "A rule allows this client the protocol, and the peer is not one of those in its to.",
        "The client may not use this protocol towards this peer; nothing was opened.",
        "Add the peer, its network or a set that has it to to of the rule that the record names.",
        "access_rules.to",
    ),
    _policy(
        "no-rule-for-this-frontend",
        "The rule that would allow it is for other ways of asking.",
        "The client may not use this protocol in this way; nothing was opened.",
        "Add the way of asking to frontends of the rule that the record names, or remove the key.",
        "access_rules.frontends",
    ),
    _policy(
        "no-rule-for-this-user",
        "The rule that would allow it is for certain users, and the client is not known to be one.",
        "The client may not use this protocol towards this peer; nothing was opened.",
        "Add the user, or a group of the user with an @ before it, to users of the rule that the"
        " record names; a client of whom only the address is known is no user.",
        "access_rules.users",
    ),
    _policy(
        "outside-the-schedule",
        "The rule that would allow it has a schedule, and it does not hold now.",
        "The client may not use this protocol at this time; nothing was opened.",
        "Wait, or change the schedule that the rule names; its times are the gateway's local time.",
        "access_rules.schedule",
    ),
    _policy(
        "client-is-not-published-to",
        "The client outside is not one of those in from of the publishing rule.",
        "The published server is not reachable for this client; the connection was refused.",
        "Add the client or its network to from of the rule, or remove the key for anyone.",
        "publishing_rules.from",
    ),
    _policy(
        "peers-are-not-named",
        'The rule has peers = "pinned", and the request does not name who may connect.',
        "Nothing was opened: anyone could have connected.",
        'Let the client name its peers, or write peers = "any" in the rule.',
        "access_rules.peers",
    ),
    _policy(
        "external-port-is-not-granted",
        "The client wishes for a port of the gateway that its rule does not grant.",
        "Nothing was opened.",
        "Widen external_ports of the rule, or let the client take any port.",
        "access_rules.external_ports",
    ),
    _policy(
        "too-many-flows",
        "A peer came to a binding that serves as many peers at once, in user mode, as its rule lets"
        " it.",
        "The peer was turned away; those that are served go on.",
        "Raise max_flows_per_binding of the rule if so many peers are meant to come; else see by"
        " `sallyport transfers list` who they are.",
        "access_rules.max_flows_per_binding",
    ),
    _policy(
        "client-port-above-maximum",
        "The client asked for connections to a port of its own above those of the rule.",
        "Nothing was opened.",
        "Widen client_ports of the rule, or configure the client to use ports within it.",
        "access_rules.client_ports",
    ),
    _policy(
        "too-many-binds-a-minute",
        "The client asked for more bindings within a minute than its rule grants.",
        "The new one was refused; those it holds go on, and a moment later it may ask again.",
        "Raise max_binds_per_minute of the rule, or find out why the client asks so often.",
        "access_rules.max_binds_per_minute",
    ),
    _policy(
        "too-many-connections-a-minute",
        "The client began more connections, or conversations of datagrams, within a minute than its"
        " rule grants.",
        "The new one was refused; those it has go on, and a moment later it may begin another.",
        "Raise max_connections_per_minute of the rule, or find out why the client connects so"
        " often.",
        "access_rules.max_connections_per_minute",
    ),
    _policy(
        "no-network-rule",
        "No network rule relates the network of the client to that of the peer.",
        "There is no traffic between these two networks in this address family.",
        "Add a [[network_rules]] table with both networks and ipv4 or ipv6 for this family.",
        "network_rules.from",
    ),
    _policy(
        "rule-is-gone",
        "The publishing rule was removed by a reload.",
        "The published server is no longer offered at this address.",
        "Write the publishing rule again if the server should be reachable.",
        "publishing_rules.listen",
    ),
    _policy(
        "peer-is-gateway",
        "The peer is an address of the gateway itself.",
        "The gateway is no protocol peer: the connection was refused. Clients inside that dial"
        " the published address of a server inside meet this.",
        "Let the client dial the server's own address; give the name that both use one address"
        " inside and another one outside.",
    ),
    _policy(
        "client-is-gateway",
        "The client is an address of the gateway itself.",
        "The gateway is no client of its own: nothing was opened that would lead to it.",
        "Look for a host inside that sends with a source of the gateway's.",
    ),
    _policy(
        "source-not-of-its-interface",
        "A datagram came in at an interface to which the network of its source does not belong.",
        "The request was dropped without an answer; its source proves nothing.",
        "Look for a host that forges sources, or name the interface in the network it serves.",
        "networks.interfaces",
    ),
    _policy(
        "peer-is-not-the-published-connections",
        "What was asked for concerns another host than the client of the published server.",
        "A publishing rule lets one client outside reach one server; nothing follows from it for"
        " other hosts.",
        "Use an access rule for connections that the server itself opens.",
        "access_rules.from",
    ),
    _policy(
        "no-protocol-at-this-port",
        "A connection was intercepted at a port of which no rule names the protocol any more.",
        "The connection was refused; it arrived while the configuration was being replaced.",
        "Try again. If it stays, name the protocol of this port in an access rule.",
        "access_rules.protocols",
    ),
    _policy(
        "not-the-clients-address",
        "The client asked for connections to an address that is not its own.",
        "Nothing was opened. Either the client is misconfigured, or it tries to reach"
        " another host (FTP bounce).",
        "Widen allowed_addresses of the rule only if clients really speak for their neighbours;"
        " otherwise look at the client that the record names.",
        "access_rules.allowed_addresses",
    ),
    _policy(
        "client-port-below-minimum",
        "The client asked for connections to a port of its own below the minimum of the rule.",
        "Nothing was opened: below 1024 services live, not data connections (RFC 2577 section 3).",
        "Let client_ports of the rule begin lower if this client really needs such a port.",
        "access_rules.client_ports",
    ),
    _policy(
        "server-port-below-minimum",
        "The server named a port of its own below the minimum of the rule.",
        "The client was not let through to that port.",
        "Let client_ports of the rule begin lower if this server really uses such a port.",
        "access_rules.client_ports",
    ),
    _policy(
        "too-many-bindings",
        "The client holds as many bindings as its rule grants.",
        "The new one was refused; those it holds go on.",
        "Raise max_bindings_per_client of the rule, or find out why the client does not end what"
        " it opens (`sallyport bindings list`).",
        "access_rules.max_bindings_per_client",
    ),
    _policy(
        "denied-by-filter",
        "A filter that was asked said no; the record before this one names it.",
        "The connection or binding was refused.",
        "See the documentation of that filter; switch it off with enabled = false under its"
        " [filters] table if it is not wanted.",
        "filters.NAME.enabled",
    ),
    _policy(
        "refused-by-rule",
        'A line matches a rule of a declarative filter whose action is "refuse".',
        "The line was not passed on.",
        "Change or remove that rule in the filter's file if the line should pass.",
    ),
    _policy(
        "media-from-another-host",
        "An RTSP server said that its media comes from another host.",
        "Its ports stayed closed; most clients then ask for the media within the connection.",
        "List that host, or its network, in media_sources under [filters.rtsp].",
        "filters.rtsp.media_sources",
    ),
    _policy(
        "taker-is-unknown",
        "A client offered a file or a chat by DCC to a nickname whose address the IRC server has"
        " not named.",
        "The offer was not passed on, and the client got a notice.",
        "Ask for the nickname first (WHOIS); where the server hides addresses, any_peer = true"
        " under [filters.dcc] opens the port of an offer to the first host that connects.",
        "filters.dcc.any_peer",
    ),
    _policy(
        "peer-is-not-admitted",
        "The address that a filter wants to send to is not one that its binding admits.",
        "Nothing was sent.",
        "The filter's author gives the address in ip_filter when binding.",
    ),
    _policy(
        "peer-port-is-not-admitted",
        "The port that a filter wants to send to is not one that its binding admits.",
        "Nothing was sent.",
        "For FTP, strict_data_port admits port 20 or the port below the control port alone.",
        "filters.ftp.strict_data_port",
    ),
)
