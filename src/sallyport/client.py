"""A client of the local API: `bind_for_client` for programs that are not the gateway.

    with GatewayClient() as gateway:
        binding = gateway.bind(
            ["10.0.0.8:8080"], transport="tcp", protocol="port-mapping",
            flags=["allow_multiple"], ip_filter=["198.51.100.0/24"],
        )
        print(binding.proxy_address)
        for event in gateway.events():
            print(event.event, event.peer)

It blocks, and uses one connection; what it binds ends with that, unless it `stays`.
"""

import os
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import count
from types import TracebackType
from typing import Final, Literal, Self

from sallyport import errors
from sallyport.errors import BindError, NotRunning
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
    ApiSend,
    ApiSetClientAddress,
    ApiSetIpFilter,
    ApiShow,
    ApiWithdraw,
    Lines,
)

DEFAULT_SOCKET: Final = "/run/sallyport/api.sock"

_ERRORS: Final = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, BindError) and kind is not errors.KernelError
}


class ApiError(Exception):
    """The gateway refused a request for another reason than those of `bind_for_client`."""

    def __init__(self, fault: ApiFault) -> None:
        super().__init__(fault.message)
        self.code = fault.code
        self.reason = fault.reason


class GatewayClient:
    """One connection to the gateway of this host."""

    def __init__(
        self, path: str | os.PathLike[str] = DEFAULT_SOCKET, *, timeout: float | None = 30.0
    ) -> None:
        """Connect; `timeout` is for answers, in seconds. Raises NotRunning, and OSError."""
        self.path = os.fspath(path)
        """The socket it is connected to: that of the worker that serves what was bound."""
        self._timeout = timeout
        self._numbers = count(1)
        self._lines = Lines()
        self._waiting: deque[bytes] = deque()
        self._events: deque[ApiEvent] = deque()
        self._has_bound = False
        self.has_ended = False
        """Whether the gateway has hung up."""
        self._socket = self._connect(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up: every binding that does not stay is closed. Idempotent."""
        self._socket.close()

    def fileno(self) -> int:
        """Return the descriptor that is readable when there are `events`."""
        return self._socket.fileno()

    def bind(
        self,
        client_addresses: Sequence[str],
        *,
        transport: Literal["tcp", "udp"],
        protocol: str,
        client: str | None = None,
        proxy_address: str | None = None,
        flags: Sequence[str] = (),
        backlog: int = 1,
        ip_filter: Sequence[str] | None = None,
        peer_ports: Sequence[int] | None = None,
        primary: str | None = None,
        close_with_primary: Literal["withdraw", "kill"] = "withdraw",
        shared: bool = False,
        lifetime: float | None = None,
        idle: float | None = None,
        armed: bool = True,
        stays: bool = False,
        context: object = None,
    ) -> ApiBinding:
        """Bind ports for a client (`sallyport.wire.api.ApiBind` explains the arguments).

        Raises what `Session.bind_for_client` raises, ApiError, and OSError.
        """
        request = ApiBind(
            id=next(self._numbers),
            client_addresses=list(client_addresses),
            transport=transport,
            protocol=protocol,
            client=client,
            proxy_address=proxy_address,
            flags=list(flags),
            backlog=backlog,
            ip_filter=None if ip_filter is None else list(ip_filter),
            peer_ports=None if peer_ports is None else list(peer_ports),
            primary=primary,
            close_with_primary=close_with_primary,
            shared=shared,
            lifetime=lifetime,
            idle=idle,
            armed=armed,
            stays=stays,
            context=context,
        )
        answer = self._ask(request)
        if answer.error is not None and answer.error.socket is not None and not self._has_bound:
            # Nothing is bound by this connection yet, so it can be another one.
            self._socket.close()
            self.path = answer.error.socket
            self._socket = self._connect(self.path)
            self._lines = Lines()
            answer = self._ask(request)
        bound = _binding(answer)
        self._has_bound = True
        return bound

    def arm(self, binding: ApiBinding) -> ApiBinding:
        """Open what was bound with `armed=False`."""
        return _binding(self._ask(ApiArm(id=next(self._numbers), binding=binding.binding)))

    def extend(self, binding: ApiBinding, seconds: float) -> float:
        """Let it live for `seconds` from now; return for how many the rule lets it."""
        request = ApiExtend(id=next(self._numbers), binding=binding.binding, seconds=seconds)
        result = _result(self._ask(request))
        assert isinstance(result, float | int)  # noqa: S101 - the gateway keeps to its wire
        return float(result)

    def set_client_address(
        self, binding: ApiBinding, client_address: str, index: int = 0
    ) -> ApiBinding:
        """Set a client address that was all zeros."""
        request = ApiSetClientAddress(
            id=next(self._numbers),
            binding=binding.binding,
            client_address=client_address,
            index=index,
        )
        return _binding(self._ask(request))

    def set_ip_filter(
        self,
        binding: ApiBinding,
        ip_filter: Sequence[str] | None,
        peer_ports: Sequence[int] | None = None,
        index: int | None = None,
    ) -> None:
        """Replace who may connect, to all ports, or to the one with this index."""
        _result(
            self._ask(
                ApiSetIpFilter(
                    id=next(self._numbers),
                    binding=binding.binding,
                    ip_filter=None if ip_filter is None else list(ip_filter),
                    peer_ports=None if peer_ports is None else list(peer_ports),
                    index=index,
                )
            )
        )

    def send_to(self, binding: ApiBinding, peer: str, data: bytes, index: int = 0) -> None:
        """Send one datagram from the proxy address."""
        request = ApiSend(
            id=next(self._numbers), binding=binding.binding, peer=peer, data=data, index=index
        )
        _result(self._ask(request))

    def show(self, binding: ApiBinding) -> ApiBinding:
        """Return the binding as it is now."""
        return _binding(self._ask(ApiShow(id=next(self._numbers), binding=binding.binding)))

    def withdraw(self, binding: ApiBinding) -> None:
        """Close its ports; what runs may finish."""
        _result(self._ask(ApiWithdraw(id=next(self._numbers), binding=binding.binding)))

    def kill(self, binding: ApiBinding, index: int | None = None) -> None:
        """Close its ports, or one of them, and reset what runs."""
        request = ApiKill(id=next(self._numbers), binding=binding.binding, index=index)
        _result(self._ask(request))

    def events(self, timeout: float | None = None) -> Iterator[ApiEvent]:
        """Yield what happens to the bindings of this connection, until the gateway hangs up.

        `timeout`: stop after so many seconds without an event; None waits for ever.
        """
        self._socket.settimeout(timeout)
        try:
            while True:
                while self._events:
                    yield self._events.popleft()
                try:
                    message = self._next()
                except (TimeoutError, BlockingIOError, EOFError):
                    return
                if isinstance(message, ApiEvent):
                    self._events.append(message)
        finally:
            if self._socket.fileno() >= 0:
                self._socket.settimeout(self._timeout)

    # -- inside -------------------------------------------------------------------------------

    def _connect(self, path: str) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.settimeout(self._timeout)
        try:
            made.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            made.close()
            raise NotRunning(
                f"no gateway listens on {path}; write [frontends.api], or name its socket"
            ) from None
        except OSError:
            made.close()
            raise
        return made

    def _ask(self, request: AnyApiRequest) -> ApiAnswer:
        self._socket.sendall(api.encode(request) + b"\n")
        while True:
            message = self._next()
            if isinstance(message, ApiEvent):
                self._events.append(message)
            elif message.id == request.id:
                return message

    def _next(self) -> ApiAnswer | ApiEvent:
        """Wait for one message; raises EOFError, TimeoutError and OSError."""
        while not self._waiting:
            data = self._socket.recv(api.MAX_LINE_BYTES)
            if not data:
                self.has_ended = True
                raise EOFError("the gateway has hung up")
            self._waiting.extend(self._lines.feed(data))
        return api.read_message(self._waiting.popleft())


def _result(answer: ApiAnswer) -> ApiBinding | float | None:
    """Return the result of an answer; raises what it says instead."""
    fault = answer.error
    if fault is None:
        return answer.result
    kind = _ERRORS.get(fault.code)
    if kind is None:
        raise ApiError(fault)
    raise kind(fault.reason)


def _binding(answer: ApiAnswer) -> ApiBinding:
    result = _result(answer)
    assert isinstance(result, ApiBinding)  # noqa: S101 - the gateway keeps to its wire
    return result
