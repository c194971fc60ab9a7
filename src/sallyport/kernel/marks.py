"""Who owns which bit of the marks, the one language that rules, events and daemon share."""

from sallyport.io.sockets import CLIENT_LEG

# -- the conntrack mark of a flow ---------------------------------------------------------------

PIN = 0x8000_0000
"""The flow is ours: a pinhole admitted it, or it is an intercepted control connection. Documented
for foreign firewalls: `ct mark & 0x80000000 != 0 accept`."""

WON = 0x4000_0000
"""The handshake is complete and the pinhole has accepted this flow."""

KILL = 0x2000_0000
"""Every further packet is answered with a reset."""

END_ORIGINAL = 0x1000_0000
"""The side that opened the flow has closed it."""

END_REPLY = 0x0800_0000
"""The side that was connected to has closed it."""

ENDS = END_ORIGINAL | END_REPLY
"""Rules change a mark by reading and writing it. Of two FINs that cross on two CPUs within some 50
nanoseconds one may be lost: the end is then told when conntrack forgets the flow. Who gets in never
depends on it: the place of a pinhole is taken under a lock (pins.py)."""

PROXIED = 0x0400_0000
"""Full proxy: the client sees the gateway's address instead of the peer's."""

ONE_WAY = 0x0200_0000
"""UDP: what the client sends back is dropped."""

TIMED = 0x0100_0000
"""UDP: the flow is over after the pins table's own idle time instead of the host's."""

TOLD = TIMED
"""TCP, where TIMED means nothing: both sides have closed and the end is recorded. Its own last
report is of no interest, and a later gateway, which finds the entry, does not record it again."""

GENERATION = 0x00FF_FFFF
"""The pinhole's number in the kernel. 0 is no pinhole: intercepted control connections carry it."""

SERIES = 0x00F0_0000
"""The part of the number that says which worker gave it out: each has a series of its own."""

SERIES_COUNT = 16
"""How many workers can hold pinholes at the same time, those of an outgoing generation included."""


def series_of(node: int | None) -> range:
    """Return the series that a gateway may use: node 1 or 2 of a pair has half of them each.

    What conntrackd copies to the standby then carries no number that this gives out itself.
    """
    half = SERIES_COUNT // 2
    return range(SERIES_COUNT) if node is None else range((node - 1) * half, node * half)


def series_bits(series: int) -> int:
    """Return the bits that mean this series, 0 to SERIES_COUNT - 1; raises ValueError."""
    if not 0 <= series < SERIES_COUNT:
        raise ValueError(f"no series {series}; there are {SERIES_COUNT}")
    return series * (SERIES & -SERIES)


# -- the packet mark ----------------------------------------------------------------------------

DELIVER = 0x0001_0000
"""Deliver here although the destination is not ours (transparent sockets); policy routing reads it.
The bits below are left to Kubernetes and to hand-written rules, which take them from the bottom."""

LEG = CLIENT_LEG
"""A packet of user mode's leg towards a client, on a relation that does not translate."""

UNTRACKED = 0x0002_0000
"""A packet we forged: conntrack must not take it for a flow."""
