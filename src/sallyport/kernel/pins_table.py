"""The pins table as text: who is admitted, and which of several comes first.

A worker's netlink socket owns its `inet sallyport_pins0` to 15: when the worker dies the kernel
removes the table, and with it every pinhole it had open. Elements therefore need no timeout, and no
rule makes one: what is in the sets is what the worker put there.

It only marks flows; the base table (kernel/base_table.py) accepts them by the mark.
"""

from sallyport.kernel import marks
from sallyport.kernel.first_datagrams import COPIED_BYTES, group_of
from sallyport.kernel.nft_text import chain


def pins_table(series: int) -> str:
    """Return the name of the table of the worker that numbers its pinholes in this series."""
    return f"sallyport_pins{series}"


# Twice the 60 000 live bindings of the design figures; a hash with room has short chains.
_SET_SIZE = 131_072

# Ranges of sources live in a set that costs time with every element in it. This full, one change is
# 5 ms and emptying it 100 ms, and the daemon waits so long. Who wants more gets OutOfResources.
_RANGES = 1024


def _container(kind: str, name: str, key: str, *settings: str) -> str:
    lines = "".join(f"        {line}\n" for line in (f"type {key}", *settings))
    return f"    {kind} {name} {{\n{lines}    }}\n"


def hash_set(kind: str, name: str, key: str, *more: str) -> str:
    """Write a set or map (`kind`) of single elements."""
    # The timeout flag is here for the hash it selects, one that grows with its elements: without
    # it each set takes 2 MiB of kernel memory from the start.
    return _container(kind, name, key, f"size {_SET_SIZE}", "flags timeout", *more)


def range_set(kind: str, name: str, key: str, *more: str) -> str:
    """Write a set or map (`kind`) of ranges."""
    return _container(kind, name, key, f"size {_RANGES}", "flags interval", *more)


def exact_key(address: str) -> str:
    """Write the type of a key of two addresses and a port."""
    return f"{address} . {address} . inet_proto . inet_service"


# How much an element has let by: read when a pinhole closes that no flow has used, to say whether
# its peer came at all (kernel/knocks.py). A quota that is never used up, and not a counter: such
# a one has memory on each processor, which makes a bind 3 microseconds longer.
_COUNTS = "quota 1000000000 mbytes"

_SETS = [
    part
    for version, address in ((4, "ipv4_addr"), (6, "ipv6_addr"))
    for part in (
        # A peer that is not in the key does not match: a stranger spends nothing.
        hash_set("map", f"narrow{version}", f"{exact_key(address)} . inet_service : mark", _COUNTS),
        hash_set("map", f"exact{version}", f"{exact_key(address)} : mark", _COUNTS),
        hash_set("map", f"any{version}", f"{address} . inet_proto . inet_service : mark", _COUNTS),
        range_set("map", f"wide{version}", f"{exact_key(address)} . inet_service : mark", _COUNTS),
        hash_set("map", f"target{version}", f"mark : {address} . inet_service"),
        # The other way round: a client speaks first, and leaves from the port that peers know.
        hash_set("map", f"spoken{version}", f"{exact_key(address)} : mark"),
        range_set("map", f"spokenwide{version}", f"{exact_key(address)} : mark"),
        hash_set("map", f"speaks{version}", f"{address} . inet_proto . inet_service : mark"),
        hash_set("map", f"listen{version}", f"mark : {address} . inet_service"),
    )
] + [
    # The one place of a single pinhole. The limit is taken under the element's lock, so of all
    # packets on all CPUs exactly one passes; a week is longer than any element lives after that
    # (the daemon deletes it some milliseconds after it hears of the flow).
    hash_set("set", "once", "mark", "limit rate 1/week burst 1 packets"),
    hash_set("set", "many", "mark"),
]

_PREROUTING = chain(
    "prerouting",
    [
        "type nat hook prerouting priority dstnat; policy accept;",
        # A stray packet is picked up mid-stream as a new flow (nf_conntrack_tcp_loose).
        "tcp flags & (fin | syn | rst | ack) != syn accept",
        *(
            f"ct mark set {key} map @{name}{version} goto admit"
            for version, ip in ((4, "ip"), (6, "ip6"))
            for name, key in (
                ("narrow", f"{ip} saddr . {ip} daddr . meta l4proto . th dport . th sport"),
                ("exact", f"{ip} saddr . {ip} daddr . meta l4proto . th dport"),
                ("any", f"{ip} daddr . meta l4proto . th dport"),
                ("wide", f"{ip} saddr . {ip} daddr . meta l4proto . th dport . th sport"),
            )
        ),
        "meta l4proto != 17 accept",
        # What our listeners intercept is no word to a peer.
        f"ct mark & {marks.PIN:#x} != 0 accept",
        *(
            f"ct mark set {key} map @{name}{version} goto speak"
            for version, ip in ((4, "ip"), (6, "ip6"))
            for name, key in (
                ("spoken", f"{ip} saddr . {ip} daddr . meta l4proto . th sport"),
                ("speaks", f"{ip} saddr . meta l4proto . th sport"),
                ("spokenwide", f"{ip} saddr . {ip} daddr . meta l4proto . th sport"),
            )
        ),
    ],
)

_NOTICE = [
    # IPCT_DESTROY and IPCT_MARK; nft 1.0.6 cannot spell the second.
    "ct event set 0x84",
    *(
        f'ct mark & {marks.TIMED:#x} != 0 meta nfproto ipv{v} ct timeout set "idle{v}"'
        for v in (4, 6)
    ),
]


def _admit(series: int, *, are_copied: bool) -> str:
    # What is said first is copied before it is translated, and before any report of its flow.
    log = f"log group {group_of(series)} snaplen {COPIED_BYTES} queue-threshold 1"
    copy = [f"meta l4proto 17 ct mark & {marks.TIMED:#x} != 0 {log}"] if are_copied else []
    return chain(
        "admit",
        [
            *_NOTICE,
            *copy,
            "meta nfproto ipv4 meta l4proto { 6, 17 } dnat ip to ct mark map @target4",
            "meta nfproto ipv6 meta l4proto { 6, 17 } dnat ip6 to ct mark map @target6",
            # Not translated: a routed relation.
            "accept",
        ],
    )


# UDP from the client of a pinhole to one of its peers: the same flow as if the peer had begun. It
# carries the pinhole's mark and ends with it. A hole of its own would stay open (the peer would go
# on answering), and it would leave from a port that the peer was not told.
_SPEAK = chain("speak", [*_NOTICE, "accept"])

_POSTROUTING = chain(
    "postrouting",
    [
        "type nat hook postrouting priority srcnat - 1; policy accept;",
        # A flow that a peer began is translated where it comes in, and only there.
        f"ct mark & {marks.PIN:#x} == 0 accept",
        "ct status dnat accept",
        "meta nfproto ipv4 meta l4proto 17 snat ip to ct mark map @listen4",
        "meta nfproto ipv6 meta l4proto 17 snat ip6 to ct mark map @listen6",
    ],
)

# The third packet of the handshake proves that the peer hears us: a forged SYN spends nothing
# (attack F26). Whether its numbers fit only conntrack knows, and `ct state` does not say it: what
# acknowledges too little counts as established, which is half of all numbers, and after a reset
# any packet does. But an entry becomes `assured` with nothing but the ACK that completes its
# handshake, in the window. A FIN can be that ACK, when the first one was lost: conntrack then goes
# to FIN_WAIT, which we tell by its timeout: 120 s, where a handshake has 60 and a reset flow 10.
# What fails here meets `unproven` in the base table.
#
# UDP proves nothing: of a single pinhole the first datagram takes the place, and the daemon then
# narrows the pinhole to its source. The flow is marked as won where it is looked up in all other
# cases (installed_pinhole.py).
_PROVE = chain(
    "prove",
    [
        "type filter hook forward priority filter - 1; policy accept;",
        f"ct mark & {marks.PIN | marks.WON | marks.KILL:#x} != {marks.PIN:#x} accept",
        f"meta l4proto 17 ct mark @once ct mark set ct mark | {marks.WON:#x} accept",
        # TCP Fast Open (RFC 7413) brings data before the proof: the client never sees the option.
        "tcp flags & syn != 0 reset tcp option fastopen",
        "tcp flags & (syn | rst) != 0 accept",
        *(
            f"{proof} ct direction original ct mark @{name}"
            f" ct mark set ct mark | {marks.WON:#x} accept"
            for proof in ("ct status assured", "tcp flags & fin != 0 ct expiration > 100s")
            for name in ("many", "once")
        ),
    ],
)


def _idle(seconds: int) -> str:
    return "\n".join(
        f"    ct timeout idle{version} {{\n"
        "        protocol udp\n"
        f"        l3proto {family}\n"
        f"        policy = {{ unreplied : {seconds}, replied : {seconds} }}\n"
        "    }\n"
        for version, family in ((4, "ip"), (6, "ip6"))
    )


def render_pins(idle_seconds: int, series: int = 0, *, are_copied: bool = True) -> str:
    """Write the script that makes the pins table; the socket that it is sent on owns the table.

    `idle_seconds` is when a timed UDP flow is over. `are_copied`: its first datagram goes to the
    packet log, which the kernel must have then.
    """
    admit = _admit(series, are_copied=are_copied)
    parts = [_idle(idle_seconds), *_SETS, _PREROUTING, admit, _SPEAK, _POSTROUTING, _PROVE]
    body = "\n".join(parts)
    return f"table inet {pins_table(series)} {{\n    flags owner;\n{body}}}\n"
