"""The SOCKS server: accepts clients, hears what they ask for, and has it done."""

import asyncio
import socket
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from sallyport import limits
from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.engine.gateway import Gateway
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import Asker
from sallyport.core.policy.terms import Frontend
from sallyport.errors import BindError, PolicyDenied
from sallyport.frontends.control_connection import ControlConnection
from sallyport.frontends.rights import SOCKS_BIND, SOCKS_CONNECT
from sallyport.frontends.socks import destinations, replies
from sallyport.frontends.socks.association import Association
from sallyport.frontends.socks.handshake import SocksHandshake, WrongPassword
from sallyport.frontends.socks.names import NameUnknown, addresses_of
from sallyport.frontends.socks.waiting_bind import WaitingBind
from sallyport.io.acceptor import Acceptor
from sallyport.io.fair_poller import FairPoller
from sallyport.io.pipes import Pipes
from sallyport.ipfilter import IpFilter
from sallyport.passwords import PasswordHash
from sallyport.wire.socks import NotSocks, SocksCommand, SocksRefusal, SocksReply, SocksRequest

# As of intercepted connections: nine in the morning.
_BACKLOG = 1024


class SocksServer:
    """Serves clients inside."""

    def __init__(self, gateway: Gateway, tasks: asyncio.TaskGroup, poller: FairPoller) -> None:
        self._gateway = gateway
        self._tasks = tasks
        self._poller = poller
        self._pipes = Pipes()
        self._acceptors: dict[socket.socket, Acceptor] = {}
        self._protocols: Mapping[int, ProtocolDefinition] = {}
        self._passwords: Mapping[str, PasswordHash] | None = {}
        self._asking: Counter[str] = Counter()
        """How many connections of each host have not said yet what they want."""

    def know(self, passwords: Mapping[str, PasswordHash] | None) -> None:
        """Know these users from now on; None: no client is asked who it is."""
        self._passwords = passwords

    def speak(self, protocols: Mapping[int, ProtocolDefinition]) -> None:
        """Let the filters of these protocols look at what goes to their ports from now on."""
        self._protocols = protocols

    def serve(self, listener: socket.socket) -> None:
        """Start to accept; the socket stays the caller's."""
        listener.listen(_BACKLOG)
        self._acceptors[listener] = Acceptor(asyncio.get_running_loop(), listener, self._accepted)
        self._acceptors[listener].turn(is_on=True)

    def leave(self, listener: socket.socket) -> None:
        """Accept there no more; what was accepted goes on."""
        self._acceptors.pop(listener).turn(is_on=False)

    def close(self) -> None:
        """Accept nothing more, after the last connection has ended; idempotent."""
        for listener in tuple(self._acceptors):
            self.leave(listener)
        self._pipes.close()

    # -- one client ---------------------------------------------------------------------------

    def _accepted(self, leg: socket.socket, client: Endpoint) -> None:
        policy = self._gateway.policy
        network, host = policy.network_of(client.address), policy.host_of(client.address)
        if network is None or policy.is_outside(network):
            leg.close()  # who is outside is not told that there is anything
        elif self._asking[host] >= limits.MAX_SOCKS_HANDSHAKES:
            self._refused(client, "too-many-handshakes")
            leg.close()
        else:
            self._asking[host] += 1
            self._tasks.create_task(self._serve(leg, client, host))

    async def _serve(self, leg: socket.socket, client: Endpoint, host: str) -> None:
        talk = SocksHandshake(leg)
        try:
            async with asyncio.timeout(limits.SOCKS_HANDSHAKE_SECONDS):
                user, request = await talk.request(self._passwords)
        except SocksRefusal as refusal:
            self._refused(client, refusal.reason)
            talk.refuse(refusal.version, refusal.reply)
        except WrongPassword as refusal:
            self._refused(client, refusal.reason, refusal.name or None)
            talk.hang_up()
        except NotSocks as error:
            self._refused(client, error.reason)
            leg.close()
        except (OSError, EOFError):  # it has gone, or took too long
            leg.close()
        else:
            await self._grant(_Client(talk, leg, client, Asker(user, Frontend.SOCKS)), request)
        finally:
            self._asking[host] -= 1
            if not self._asking[host]:
                del self._asking[host]

    async def _grant(self, client: "_Client", request: SocksRequest) -> None:
        """Do what is asked for, or answer why not; a fault of ours costs this client alone."""
        do = {
            SocksCommand.CONNECT: self._connect,
            SocksCommand.BIND: self._bind,
            SocksCommand.UDP_ASSOCIATE: self._associate,
        }
        reply = SocksReply.GENERAL_FAILURE
        try:
            await do[request.command](client, request)
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
                    self._tasks,
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
        association = Association(self._gateway, self._poller, client.leg, client.at, client.asker)
        await association.begin(request.port, self._tasks)

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
        faults = {one: destinations.fault(self._gateway.policy, one) for one in same}
        fitting = [one for one in same if faults[one] is None]
        if not fitting:
            raise PolicyDenied(faults[same[0]] or "peer-is-never-served")
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


@dataclass(frozen=True, slots=True)
class _Client:
    """One client whose request is whole."""

    talk: SocksHandshake
    leg: socket.socket
    at: Endpoint
    asker: Asker
