"""What clients say first through pinholes of user mode, heard on its way to the peer.

A client may speak before its peer does, to the peer's own address; RTP does. In the kernel's data
path the pins table makes that a flow of the pinhole. In user mode it has to come to us: by a table
of our own, which delivers what a client's port says to one of its peers to a socket of ours. Once
the flow's own socket towards the client is there, that has it (kernel/interception.py).

The table is made when it is first needed: most gateways never do, and its chain would cost each
packet that they forward 0.2 microseconds.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.errors import KernelError, StartupError
from sallyport.flags import Transport
from sallyport.io.interception import (
    ANCILLARY_SPACE,
    intercepting_datagram_socket,
    original_destination,
)
from sallyport.io.sockets import endpoint_of
from sallyport.ipfilter import IpFilter
from sallyport.kernel import installed_pinhole, marks, table
from sallyport.kernel.conntrack import ConntrackRequests
from sallyport.kernel.nft_text import chain
from sallyport.kernel.pins_table import exact_key, hash_set, range_set
from sallyport.kernel.table import OwnedTable
from sallyport.wire import conntrack, nftset
from sallyport.wire.conntrack import FlowTuple

Spoke = Callable[[Endpoint, Endpoint, bytes], None]
"""Takes what a client said to a peer."""


def words_table(series: int) -> str:
    """Return the name of the table of the worker with this series of numbers (marks.SERIES)."""
    return f"sallyport_words{series}"


def render_words(ports: Mapping[int, int], series: int = 0) -> str:
    """Write the script that makes the table; the socket that it is sent on owns the table.

    `ports` are those of our loopback sockets, by IP version.
    """
    parts: list[str] = []
    for version in ports:
        address = f"ipv{version}_addr"
        parts += [
            hash_set("set", f"speaks{version}", f"{address} . inet_proto . inet_service"),
            hash_set("set", f"spoken{version}", exact_key(address)),
            range_set("set", f"spokenwide{version}", exact_key(address)),
        ]
    hear = [
        # After `intercept` in the guard: what that delivers is not ours.
        "type filter hook prerouting priority mangle + 1; policy accept;",
        "meta l4proto != 17 accept",
        f"ct mark & {marks.WON:#x} != 0 accept",
        f"meta mark & {marks.DELIVER:#x} != 0 accept",
    ]
    for version, port in ports.items():
        ip, loopback = ("ip", "127.0.0.1") if version == 4 else ("ip6", "[::1]")
        to_peer = f"{ip} saddr . {ip} daddr . meta l4proto . th sport"
        for key, name in (
            (f"{ip} saddr . meta l4proto . th sport", "speaks"),
            (to_peer, "spoken"),
            (to_peer, "spokenwide"),
        ):
            # The gateway itself, and an address of many hosts, is no peer.
            hear.append(f"{key} @{name}{version} fib daddr type unicast goto deliver{version}")
        deliver = (
            f"meta l4proto udp tproxy {ip} to {loopback}:{port}"
            f" meta mark set meta mark | {marks.DELIVER:#x}"
            f" ct mark set ct mark | {marks.PIN:#x} accept"
        )
        parts.append(chain(f"deliver{version}", [deliver]))
    parts.append(chain("hear", hear))
    return f"table inet {words_table(series)} {{\n    flags owner;\n{''.join(parts)}}}\n"


class FirstWords:
    """Hears clients of this worker's pinholes (`relay.speakers.Ears`)."""

    def __init__(self, loop: asyncio.AbstractEventLoop, series: int = 0) -> None:
        self._loop = loop
        self._series = series
        self._spoke: Spoke = lambda _client, _peer, _data: None
        self._sockets: list[socket.socket] = []
        self._table: OwnedTable | None = None
        self._requests: ConntrackRequests | None = None
        self._heard: dict[Endpoint, installed_pinhole.Keys] = {}

    def attach(self, spoke: Spoke) -> None:
        """Set who is told; called once, before anything is heard."""
        self._spoke = spoke

    def hear(self, client: Endpoint, peers: IpFilter | None) -> None:
        """Take what this port of a client says to these peers, None: to anyone.

        Not while it is heard already. Raises KernelError, and then nothing is heard of it.
        """
        keys = installed_pinhole.spoken_keys(client, peers)
        if keys:
            made = self._table or self._begin()
            made.change((), _changes(keys))
            self._heard[client] = keys

    def ignore(self, client: Endpoint) -> None:
        """Let what this port says pass as ordinary traffic again; idempotent, never raises."""
        keys = self._heard.pop(client, None)
        if keys and self._table is not None:
            with contextlib.suppress(KernelError):
                self._table.change(_changes(keys), ())

    def forget(self, client: Endpoint, peer: Endpoint) -> None:
        """Let conntrack forget what the two have said to each other; never raises.

        What follows then begins as if it were the first: a new flow of ours, or ordinary traffic.
        """
        if self._requests is not None:
            flow = FlowTuple(Transport.UDP, client, peer)
            with contextlib.suppress(KernelError, OSError):
                self._requests.delete(conntrack.write_tuple(flow))

    def stop(self) -> None:
        """Hear nothing more; idempotent."""
        for listener in self._sockets:
            self._loop.remove_reader(listener)
            listener.close()
        self._sockets.clear()
        self._heard.clear()
        if self._table is not None:
            self._table.close()
            self._table = None
        if self._requests is not None:
            self._requests.close()
            self._requests = None

    def _begin(self) -> OwnedTable:
        # nft holds up the loop for some 30 ms, once in a worker's life.
        try:
            self._requests = ConntrackRequests()
            ports: dict[int, int] = {}
            for version in (4, 6):
                with contextlib.suppress(OSError):  # a host may do without IPv6
                    listener = intercepting_datagram_socket(version)
                    self._sockets.append(listener)
                    ports[version] = listener.getsockname()[1]
            name = words_table(self._series)
            self._table = OwnedTable(name, table.claim(render_words(ports, self._series), name))
        except (OSError, StartupError) as error:
            self.stop()
            raise KernelError("hear what clients say first", 0, str(error)) from error
        for listener in self._sockets:
            self._loop.add_reader(listener, self._drain, listener)
        return self._table

    def _drain(self, listener: socket.socket) -> None:
        for _ in range(limits.MAX_DATAGRAMS_PER_TURN):
            try:
                data, ancillary, _flags, sender = listener.recvmsg(
                    limits.MAX_DATAGRAM_BYTES, ANCILLARY_SPACE
                )
            except OSError:  # nothing more, or what was heard has ended everything
                return
            peer = original_destination(ancillary)
            if peer is not None:
                self._spoke(self._client_of(endpoint_of(sender), peer), peer, data)

    def _client_of(self, sender: Endpoint, peer: Endpoint) -> Endpoint:
        """Return who has sent a datagram that was heard.

        What belongs to a flow from before the bind is translated on its way to us as ever.
        """
        if sender in self._heard or self._requests is None:
            return sender
        flow = FlowTuple(Transport.UDP, peer, sender)
        try:
            original = self._requests.original_of(conntrack.write_tuple(flow))
        except (KernelError, OSError):
            return sender
        return sender if original is None else conntrack.read_source(original)


def _changes(keys: installed_pinhole.Keys) -> nftset.Changes:
    found: dict[str, list[bytes]] = {}
    for name, key in keys:
        found.setdefault(name, []).append(nftset.element(key))
    return list(found.items())
