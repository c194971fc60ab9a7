"""The SOCKS server: accepts clients, hears what they ask for, and has it done."""

import asyncio
import socket
from collections import Counter
from collections.abc import Mapping
from functools import partial

from sallyport import limits
from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.engine.gateway import Gateway
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import Asker
from sallyport.core.policy.terms import Frontend
from sallyport.core.runtime.deadlines import Deadline
from sallyport.errors import BindError, PolicyDenied
from sallyport.frontends.control_connection import ControlConnection
from sallyport.frontends.entrance import Entrance
from sallyport.frontends.rights import SOCKS_BIND, SOCKS_CONNECT
from sallyport.frontends.socks import destinations, replies
from sallyport.frontends.socks.association import Association
from sallyport.frontends.socks.handshake import Asked, SocksHandshake, WrongPassword
from sallyport.frontends.socks.names import NameUnknown, addresses_of
from sallyport.frontends.socks.waiting_bind import WaitingBind
from sallyport.io import eager
from sallyport.io.fair_poller import FairPoller
from sallyport.io.pipes import Pipes
from sallyport.ipfilter import IpFilter
from sallyport.passwords import PasswordHash
from sallyport.wire.socks import NotSocks, SocksCommand, SocksRefusal, SocksReply, SocksRequest


class SocksServer:
    """Serves clients inside."""

    def __init__(
        self,
        gateway: Gateway,
        tasks: asyncio.TaskGroup,
        poller: FairPoller,
        entrance: Entrance,
    ) -> None:
        self._gateway = gateway
        self._tasks = tasks
        self._poller = poller
        self._pipes = Pipes()
        self._entrance = entrance
        self._protocols: Mapping[int, ProtocolDefinition] = {}
        self._passwords: Mapping[str, PasswordHash] | None = {}
        self._asking: Counter[str] = Counter()
        """How many connections of each host have not got their answer yet."""
        self._do = {
            SocksCommand.CONNECT: self._connect,
            SocksCommand.BIND: self._bind,
            SocksCommand.UDP_ASSOCIATE: self._associate,
        }

    def know(self, passwords: Mapping[str, PasswordHash] | None) -> None:
        """Know these users from now on; None: no client is asked who it is."""
        self._passwords = passwords

    def speak(self, protocols: Mapping[int, ProtocolDefinition]) -> None:
        """Let the filters of these protocols look at what goes to their ports from now on."""
        self._protocols = protocols

    def serve(self, listener: socket.socket) -> None:
        """Start to accept; the socket stays the caller's."""
        # Who connects speaks first (RFC 1928): the kernel wakes us when there is something to read,
        # or after a second of silence (tcp(7)).
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
        self._entrance.open(listener, self._begin, self._too_many)

    def leave(self, listener: socket.socket) -> None:
        """Accept there no more; what was accepted goes on."""
        self._entrance.shut(listener)

    def close(self) -> None:
        """Let go of what connections shared, after the last of them has ended; idempotent."""
        self._pipes.close()

    # -- one client ---------------------------------------------------------------------------

    def _begin(self, leg: socket.socket, at: Endpoint) -> None:
        host = self._gateway.policy.host_of(at.address)
        if self._is_outside(at):
            leg.close()  # who is outside is not told that there is anything
        elif self._asking[host] >= limits.MAX_SOCKS_HANDSHAKES:
            self._too_many(leg, at)
        else:
            self._asking[host] += 1
            client = _Client(leg, at, host)
            client.talk = talk = SocksHandshake(
                self._poller,
                self._tasks,
                leg,
                self._passwords,
                partial(self._heard, client),
                host=host,
            )
            client.patience = self._gateway.call_later(
                limits.SOCKS_HANDSHAKE_SECONDS, partial(self._give_up, client)
            )
            talk.begin()

    def _is_outside(self, client: Endpoint) -> bool:
        policy = self._gateway.policy
        network = policy.network_of(client.address)
        return network is None or policy.is_outside(network)

    def _too_many(self, leg: socket.socket, at: Endpoint) -> None:
        """Turn away a client of whom as many wait, or have not said what they want, as may."""
        if not self._is_outside(at):
            self._refused(at, "too-many-handshakes")
        leg.close()

    def _give_up(self, client: "_Client") -> None:
        """End a handshake that takes too long."""
        client.talk.give_up()
        client.leg.close()
        self._asked(client)

    def _heard(self, client: "_Client", heard: Asked | Exception) -> None:
        """Do what a client has asked for, or tell it why it could not be heard."""
        client.patience.cancel()
        if not isinstance(heard, Exception):
            user, request = heard
            client.asker = Asker(user, Frontend.SOCKS)
            if isinstance(request.host, str):
                client.talk.hold()
                self._tasks.create_task(self._grant(client, request))
            else:
                eager.start(self._tasks, self._grant(client, request))
            return
        self._asked(client)
        match heard:
            case SocksRefusal():
                self._refused(client.at, heard.reason)
                client.talk.refuse(heard.version, heard.reply)
            case WrongPassword():
                self._refused(client.at, heard.reason, heard.name or None)
                client.talk.hang_up()
            case _:  # it speaks another protocol, or has gone
                if isinstance(heard, NotSocks):
                    self._refused(client.at, heard.reason)
                client.talk.give_up()
                client.leg.close()

    def _asked(self, client: "_Client") -> None:
        """Count a client no more among those who have not got their answer."""
        self._asking[client.host] -= 1
        if not self._asking[client.host]:
            del self._asking[client.host]

    async def _grant(self, client: "_Client", request: SocksRequest) -> None:
        """Do what is asked for, or answer why not; a fault of ours costs this client alone."""
        reply = SocksReply.GENERAL_FAILURE
        try:
            await self._do[request.command](client, request)
        except SocksRefusal as refusal:
            reply = refusal.reply
        except BindError as refusal:
            reply = replies.of_refusal(refusal)
            if not refusal.is_recorded:
                self._refused(client.at, refusal.reason, client.asker.user, request)
        except NameUnknown:
            reply = SocksReply.HOST_UNREACHABLE
            self._refused(client.at, "name-is-not-known", client.asker.user, request)
        except OSError as error:
            reply = replies.of_error(error)
            self._refused(client.at, "no-descriptor-for-socket", client.asker.user, request)
        except Exception as error:  # noqa: BLE001 - a fence: our fault costs one answer
            self._gateway.journal.record(
                "frontend.failed",
                level="error",
                frontend="socks",
                client=client.at,
                error=repr(error),
            )
        else:
            return
        finally:
            self._asked(client)
        client.talk.refuse(request.version, reply)

    async def _connect(self, client: "_Client", request: SocksRequest) -> None:
        protocol = self._protocols.get(request.port, SOCKS_CONNECT)
        refusal: BindError = PolicyDenied("peer-is-never-served")
        for address in await self._destinations(client, request):
            try:
                server = Endpoint(address, request.port)
                primary = self._gateway.admit_primary(protocol, client.at, server, client.asker)
            except BindError as error:
                refusal = error
                refusal.is_recorded = True
            else:
                ControlConnection(
                    self._gateway,
                    self._poller,
                    primary,
                    accepted=client.leg,
                    words=replies.ConnectWords(request.version),
                    pipes=self._pipes,
                ).begin()
                return
        raise refusal

    async def _bind(self, client: "_Client", request: SocksRequest) -> None:
        peers, server = await self._peers(client, request)
        primary = self._gateway.admit_primary(SOCKS_BIND, client.at, server, client.asker)
        waiting = WaitingBind(self._gateway, self._poller, primary, client.leg, request.version)
        try:
            await waiting.begin(peers, request.port)
        except BindError as refusal:
            waiting.refuse(replies.of_refusal(refusal))

    async def _associate(self, client: "_Client", request: SocksRequest) -> None:
        association = Association(
            self._gateway,
            self._poller,
            self._tasks,
            client.leg,
            client=client.at,
            asker=client.asker,
        )
        await association.begin(request.port)

    async def _peers(self, client: "_Client", request: SocksRequest) -> tuple[IpFilter, Endpoint]:
        """Return who may connect to a BIND, and one of them.

        Where the request names no one: those that the client is connected to in the same way, and
        never anyone (attack K02).
        """
        if isinstance(request.host, str) or not request.host.is_unspecified:
            found = await self._destinations(client, request)
            return IpFilter.of(*found), Endpoint(found[0], request.port or 1)
        session = self._gateway.sessions.of(client.at.address, client.asker)
        primaries = () if session is None else session.primaries.values()
        known = [one.server for one in primaries if one.frontend is Frontend.SOCKS]
        if not known:
            raise PolicyDenied("peers-are-not-named")
        return IpFilter.of(*(one.address for one in known)), known[-1]

    async def _destinations(self, client: "_Client", request: SocksRequest) -> list[IpAddress]:
        """Return the addresses of a request that a client may name at all.

        Raises NameUnknown, SocksRefusal, and PolicyDenied when there is none.
        """
        found = await addresses_of(request.host, client.at.version)
        same = [one for one in found if one.version == client.at.version]
        if not same:
            raise SocksRefusal(SocksReply.ADDRESS_TYPE_NOT_SUPPORTED, request.version)
        faults = [destinations.fault(self._gateway.policy, one) for one in same]
        fitting = [one for one, fault in zip(same, faults, strict=True) if fault is None]
        if not fitting:
            raise PolicyDenied(faults[0] or "peer-is-never-served")
        return fitting

    def _refused(
        self,
        client: Endpoint,
        reason: str,
        user: str | None = None,
        request: SocksRequest | None = None,
    ) -> None:
        asked: dict[str, object] = {}
        if request is not None:
            asked = {"command": request.command.name.lower(), "host": request.host}
        if user is not None:
            asked["user"] = user
        self._gateway.journal.record(
            "socks.refused", level="warning", client=client, reason=reason, **asked
        )


class _Client:
    """One client, from its arrival until it has its answer."""

    __slots__ = ("asker", "at", "host", "leg", "patience", "talk")

    def __init__(self, leg: socket.socket, at: Endpoint, host: str) -> None:
        self.leg = leg
        self.at = at
        self.host = host
        """For whom it counts."""
        self.talk: SocksHandshake
        self.patience: Deadline
        self.asker: Asker
