"""Emulation: a filter plays the server, or the peer that connects to a bound port."""

from typing import TYPE_CHECKING

from sallyport.addresses import Endpoint
from sallyport.core.model.chain import Chain, Priority
from sallyport.core.pinholes.datapath import Tap
from sallyport.core.pinholes.lifecycle import State
from sallyport.core.pinholes.registry import Traffic
from sallyport.core.policy.rules import Policy
from sallyport.errors import (
    AddressNotAvailable,
    AlreadyEmulated,
    AlreadyExists,
    BadContext,
    InvalidArgument,
    NotEmulated,
    Terminating,
)

if TYPE_CHECKING:
    from sallyport.core.model.filter import DataFilter
    from sallyport.core.model.secondary import SecondaryConnection


def take_over(connection: "SecondaryConnection") -> None:
    """Implement `SecondaryConnection.emulate_for_bind`; raises as it does."""
    context = connection.event_context
    if context is None or not context.is_about_bind:
        raise BadContext("not-in-a-bind-event-of-this-connection")
    require_running(is_over=connection.is_closed)
    if connection.is_emulated:
        raise AlreadyEmulated("a-filter-has-the-bind")
    engine = connection.engine
    connection.become_emulated(engine.user_path, context.owner)
    engine.journal.record(
        "binding.emulated",
        session=connection.session.id,
        binding=connection.binding_id,
        filter=context.owner,
    )


def deliver(
    connection: "SecondaryConnection",
    data_filter: "DataFilter",
    remote: Endpoint,
    local: Endpoint | None,
    context: object,
) -> None:
    """Implement `SecondaryConnection.emulate_connection`; raises as it does."""
    engine = connection.engine
    require_emulated(is_emulated=connection.is_emulated)
    require_running(is_over=connection.is_closed)
    _require_room(connection, remote)
    engine.require_peer(connection, remote)
    if local is not None:
        require_own(engine.policy, local, remote.version)
        connection.socket_name = local
    connection.expected |= {remote}

    def play_peer(chain: Chain) -> None:
        chain.attach(data_filter, Priority.EMULATION, context, connection.emulator)

    engine.ask_about_flow(connection, remote, Delivery(connection, remote), play_peer)


def _require_room(connection: "SecondaryConnection", remote: Endpoint) -> None:
    """Check that a real port would admit this peer: one connection, one UDP source, or many.

    Raises BadContext before the port is open or the client address known, AlreadyExists when the
    peer is there or the one place is taken, Terminating when the port is closed.
    """
    if connection.state is State.RESERVED:
        raise BadContext("the-port-is-not-open-yet")
    if connection.client_address is None:
        raise BadContext("the-client-address-is-not-known")
    present = connection.expected | connection.running.keys()
    if remote in present:
        raise AlreadyExists("this-peer-is-connected")
    if connection.pinhole.single and (present or connection.latest_peer not in (None, remote)):
        raise AlreadyExists("one-connection-only")
    if not connection.is_open:
        raise Terminating("nothing-more-is-let-in")


class Delivery:
    """The arrival of a peer that a filter plays; implements `datapath.Arrival`.

    The other filters are asked about it exactly as about a peer on the network.
    """

    __slots__ = ("_connection", "_peer")

    def __init__(self, connection: "SecondaryConnection", peer: Endpoint) -> None:
        self._connection = connection
        self._peer = peer

    def proceed(self, tap: Tap | None) -> None:
        """Implement `Arrival`: dial the client, unless the port has closed meanwhile."""
        assert tap is not None  # noqa: S101 - the emulating filter is in it
        connection = self._connection
        if connection.is_open:
            connection.engine.user_path.deliver(connection.pinhole, self._peer, tap)
        else:
            tap.end()

    def refuse(self) -> None:
        """Implement `Arrival`: a filter denied the peer; the port is as it was."""
        self._connection.expected -= {self._peer}


# -- what emulated connections of both kinds share ------------------------------------------------


def require_emulated(*, is_emulated: bool) -> None:
    """Raise NotEmulated unless a filter emulates the connection: real sockets know their names."""
    if not is_emulated:
        raise NotEmulated("the-connection-is-not-emulated")


def require_running(*, is_over: bool) -> None:
    """Raise Terminating when the connection is over."""
    if is_over:
        raise Terminating("connection-has-ended")


def require_own(policy: Policy, address: Endpoint, version: int) -> None:
    """Check that `address` can be announced as an address of the gateway.

    Raises InvalidArgument for port 0 or another family than `version` (4 or 6),
    AddressNotAvailable when the gateway does not have the address.
    """
    if address.port == 0 or address.version != version:
        raise InvalidArgument("not-a-socket-name")
    if address.address not in policy.gateway_addresses:
        raise AddressNotAvailable("not-an-address-of-the-gateway")


def with_sent(traffic: Traffic, count: int) -> Traffic:
    """Return `traffic` plus `count` bytes that a filter sent; raises InvalidArgument below zero."""
    if count < 0:
        raise InvalidArgument("a-count-below-zero")
    return traffic._replace(to_peer_bytes=traffic.to_peer_bytes + count)
