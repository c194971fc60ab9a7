"""What a process that speaks the local API asks for, and what it is told; sockets are `server.py`.

One for each connection. A binding belongs to the connection that made it and ends with it, unless
it stays for its lifetime; a process of the same user may then go on with it.
"""

from collections.abc import Callable, MutableMapping, Sequence
from ipaddress import ip_address
from typing import Any, Final
from uuid import UUID

from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.engine.gateway import Gateway
from sallyport.core.model.binding import Binding
from sallyport.core.model.connection import PrimaryConnection
from sallyport.core.model.events import (
    ConnectionRefused,
    ConnectionTerminating,
    EstablishedConnection,
    Event,
)
from sallyport.core.model.filter import SessionFilter
from sallyport.core.model.secondary import SecondaryConnection
from sallyport.core.model.session import Session
from sallyport.core.pinholes.lifecycle import State
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import Asker
from sallyport.core.policy.terms import Frontend
from sallyport.errors import BindError, InvalidArgument, NotFound, Terminating
from sallyport.flags import BindFlags, Transport
from sallyport.frontends.rights import RIGHTS
from sallyport.ipfilter import IpFilter
from sallyport.wire import api
from sallyport.wire.api import (
    AnyApiRequest,
    ApiAnswer,
    ApiArm,
    ApiBind,
    ApiBinding,
    ApiEvent,
    ApiExtend,
    ApiFault,
    ApiKill,
    ApiPeer,
    ApiPort,
    ApiSend,
    ApiSetClientAddress,
    ApiSetIpFilter,
    ApiShow,
    ApiWithdraw,
)

Result = ApiBinding | float | None
_TRANSPORTS: Final = {"tcp": Transport.TCP, "udp": Transport.UDP}

Book = MutableMapping[str, tuple[str, Binding]]
"""The bindings that were made by the API, by their id, each with the user it is for."""


class OtherWorker(Exception):
    """Another process of the gateway serves this client, at another socket."""

    def __init__(self, path: str) -> None:
        super().__init__(f"ask at {path}")
        self.path = path


class ApiResponder(SessionFilter):
    """Answers the requests of one connection, and is told of the bindings that it made."""

    def __init__(
        self,
        gateway: Gateway,
        book: Book,
        user: str,
        *,
        tell: Callable[[bytes], None],
        elsewhere: Callable[[IpAddress], str | None] = lambda _client: None,
    ) -> None:
        """`tell` takes lines for the process; `elsewhere` knows who serves a client, None: we do.

        `book` is the one of all connections.
        """
        self._gateway = gateway
        self._book = book
        self._user = user
        self._tell = tell
        self._elsewhere = elsewhere
        self._own: dict[str, Binding] = {}
        """What ends with the connection."""
        self._is_open = True

    async def answer(self, line: bytes) -> bytes:
        """Return the answer to one line."""
        try:
            request = api.read_request(line)
        except api.UNREADABLE as error:
            refused = _fault("bad-request", "bad-request", str(error))
            return _line(ApiAnswer(id=api.id_of(line), error=refused))
        try:
            result = await self._do(request)
        except OtherWorker as error:
            fault = ApiFault(
                code="other-worker", reason="other-worker", message=str(error), socket=error.path
            )
        except BindError as error:
            fault = ApiFault(
                code=error.code, reason=error.reason, message=str(error), hresult=error.hresult
            )
        except NotFound as error:
            fault = _fault(error.code, error.code, str(error))
        except ValueError as error:  # an address that is none
            fault = ApiFault(
                code=InvalidArgument.code,
                reason="an-argument-cannot-be-read",
                message=str(error),
                hresult=InvalidArgument.hresult,
            )
        else:
            return _line(ApiAnswer(id=request.id, result=result))
        return _line(ApiAnswer(id=request.id, error=fault))

    async def on_event(self, event: Event) -> None:
        """Implement `SessionFilter`: tell the process what happens to a binding of its own."""
        connection = event.connection
        if not isinstance(connection, SecondaryConnection):
            return
        told = _told(event, connection)
        if isinstance(event, ConnectionTerminating) and connection.binding is None:
            self._book.pop(connection.binding_id, None)
            self._own.pop(connection.binding_id, None)
        if told is not None and self._is_open:
            self._tell(_line(told))

    def close(self) -> None:
        """End with the connection: what it made is closed, and what runs through it is reset."""
        self._is_open = False
        for binding in tuple(self._own.values()):
            binding.kill("owner-has-gone")

    async def _do(self, request: AnyApiRequest) -> Result:
        if isinstance(request, ApiBind):
            return await self._bind(request)
        binding = self._binding(request.binding)
        done: Result = None
        match request:
            case ApiArm():
                await binding.arm()
                done = shown(binding)
            case ApiExtend():
                done = binding.extend(request.seconds)
            case ApiSetClientAddress():
                address = Endpoint.parse(request.client_address)
                await _port(binding, request.index).set_client_address(address)
                done = shown(binding)
            case ApiSetIpFilter():
                await _restrict(binding, request)
            case ApiSend():
                peer = Endpoint.parse(request.peer)
                _port(binding, request.index).send_to(peer, request.data)
            case ApiShow():
                done = shown(binding)
            case ApiWithdraw():
                binding.withdraw("withdrawn-by-owner")
            case ApiKill(index=None):
                binding.kill("killed-by-owner")
            case ApiKill(index=int(index)):
                _port(binding, index).kill("killed-by-owner")
        return done

    async def _bind(self, request: ApiBind) -> ApiBinding:
        clients = [Endpoint.parse(text) for text in request.client_addresses]
        if request.client is None and not clients:
            raise InvalidArgument("count-of-addresses")
        client = clients[0].address if request.client is None else ip_address(request.client)
        if (path := self._elsewhere(client)) is not None:
            raise OtherWorker(path)
        if request.stays and request.lifetime is None:
            raise InvalidArgument("what-stays-needs-a-lifetime")
        if request.primary is None:
            asker = Asker(self._user, Frontend.API)
            primary, session = None, self._gateway.client_session(client, asker)
        else:
            primary = self._primary(client, request.primary)
            session = primary.session
        try:
            binding = await self._bind_in(session, clients, primary, request)
        finally:
            self._gateway.forget_idle(session)  # a refused call leaves nothing behind
        self._book[binding.id] = self._user, binding
        if not request.stays:
            self._own[binding.id] = binding
        if request.armed:
            await binding.arm()
        return shown(binding)

    async def _bind_in(
        self,
        session: Session,
        clients: Sequence[Endpoint],
        primary: PrimaryConnection | None,
        request: ApiBind,
    ) -> Binding:
        proxy = request.proxy_address
        return await session.bind_for_client(
            clients,
            transport=_TRANSPORTS[request.transport],
            protocol=self._protocol(request.protocol),
            proxy_address=None if proxy is None else Endpoint.parse(proxy),
            flags=_flags(request.flags),
            backlog=request.backlog,
            session_filter=self,
            context=request.context,
            ip_filter=_filter(request.ip_filter),
            peer_ports=None if request.peer_ports is None else frozenset(request.peer_ports),
            primary=primary,
            close_with_primary=request.close_with_primary,
            shared=request.shared,
            frontend=Frontend.API,
            user=self._user,
            lifetime=request.lifetime,
            idle=request.idle,
            armed=False,
        )

    def _primary(self, client: IpAddress, connection_id: str) -> PrimaryConnection:
        """Return a connection of this client, whatever its session; raises Terminating."""
        for session in self._gateway.sessions:
            found = session.primaries.get(connection_id)
            if found is not None and session.client_address == client:
                return found
        raise Terminating("primary-has-ended")

    def _protocol(self, name: str) -> ProtocolDefinition | UUID:
        try:
            return UUID(name)
        except ValueError:
            return RIGHTS.get(name) or self._gateway.roster.protocol(name)

    def _binding(self, binding_id: str) -> Binding:
        """Return a binding of this user; that of another is not there."""
        user, binding = self._book.get(binding_id, ("", None))
        if binding is None or user != self._user or binding.state is State.CLOSED:
            raise NotFound(f"no binding {binding_id}")
        return binding


def shown(binding: Binding) -> ApiBinding:
    """Return a binding as the process is told of it."""
    return ApiBinding(
        binding=binding.id,
        proxy_address=str(binding.proxy_address),
        state=binding.state.value,
        expires_in=binding.expires_in,
        rule=binding.rule.name,
        connections=[
            ApiPort(
                proxy_address=str(one.proxy_address),
                client_address=None if one.client_address is None else str(one.client_address),
                data_path=one.data_path.value,
                state=one.state.value,
                peers=[
                    ApiPeer(
                        peer=str(flow.peer),
                        from_peer_bytes=flow.from_peer_bytes,
                        to_peer_bytes=flow.to_peer_bytes,
                    )
                    for flow in one.peers()
                ],
            )
            for one in binding.connections
        ],
    )


def _told(event: Event, connection: SecondaryConnection) -> ApiEvent | None:
    """Return an event as the process is told of it; None for one that is not its business."""
    about: dict[str, Any] = {
        "binding": connection.binding_id,
        "index": connection.index,
        "context": connection.context,
    }
    if isinstance(event, EstablishedConnection):
        return ApiEvent(event="established", peer=str(event.peer), **about)
    if isinstance(event, ConnectionRefused):
        return ApiEvent(event="refused", peer=str(event.peer), **about)
    if isinstance(event, ConnectionTerminating):
        latest = connection.latest_peer
        return ApiEvent(
            event="closed",
            peer=None if latest is None else str(latest),
            reason=event.reason,
            flows=event.traffic.flows,
            from_peer_bytes=event.traffic.from_peer_bytes,
            to_peer_bytes=event.traffic.to_peer_bytes,
            **about,
        )
    return None


async def _restrict(binding: Binding, request: ApiSetIpFilter) -> None:
    ip_filter = _filter(request.ip_filter)
    ports = None if request.peer_ports is None else frozenset(request.peer_ports)
    if request.index is None:
        await binding.set_peers(ip_filter, ports)
    elif ports is not None:
        raise InvalidArgument("peer-ports-are-of-the-whole-binding")
    else:
        await _port(binding, request.index).set_ip_filter(ip_filter)


def _port(binding: Binding, index: int) -> SecondaryConnection:
    if not 0 <= index < len(binding.connections):
        raise InvalidArgument("no-port-with-this-index")
    return binding.connections[index]


def _flags(names: list[str]) -> BindFlags:
    flags = BindFlags.NONE
    for name in names:
        flag = BindFlags.__members__.get(name.upper())
        if flag is None:
            raise InvalidArgument("wrong-type-of-flags")
        flags |= flag
    return flags


def _filter(texts: list[str] | None) -> IpFilter | None:
    if texts is None:
        return None
    found = IpFilter()
    for text in texts:
        found = found.include_filter(IpFilter.parse(text))
    return found


def _fault(code: str, reason: str, message: str) -> ApiFault:
    return ApiFault(code=code, reason=reason, message=message)


def _line(message: ApiAnswer | ApiEvent) -> bytes:
    return api.encode(message) + b"\n"
