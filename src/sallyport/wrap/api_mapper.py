"""Asking the gateway of this host for ports, by its local API instead of PCP.

For programs in a network namespace of their own, a container for instance, that can reach the
gateway's socket. What is bound ends with the connection: a program that is killed leaves nothing.
"""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final, Literal

from sallyport.addresses import Endpoint, IpAddress, IpNetwork, parse_address
from sallyport.client import ApiError, GatewayClient
from sallyport.errors import BindError, NotRunning
from sallyport.wire.api import ApiBinding
from sallyport.wrap.mapped import Mapped, Refused

# What rules call it, by whatever way it is asked for.
_RIGHT: Final = "port-mapping"
# RFC 863; nothing is sent: a route is asked for, and by it our own address.
_DISCARD: Final = 9

_Kind = tuple[Literal["tcp", "udp"], tuple[str, ...]]
_KINDS: Final[dict[int, _Kind]] = {
    socket.IPPROTO_TCP: ("tcp", ("allow_multiple",)),
    socket.IPPROTO_UDP: ("udp", ("allow_multiple", "bidirectional")),
}


class ApiMapper:
    """Speaks with the gateway of this host (`mapped.Mapper`)."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        peers: Sequence[IpNetwork],
        lifetime: int,
        towards: Callable[[], IpAddress],
    ) -> None:
        """Connect to the socket at `path`. `peers`: who may connect; none: anyone.

        Our own address is the one that we have on the way to the host that `towards` returns.
        Raises NotRunning, what `towards` raises, and OSError without a route or the right to use
        the socket.
        """
        self._path = path
        self._peers = [str(peer) for peer in peers] or None
        self._lifetime = lifetime
        self._client = GatewayClient(path)
        try:
            self.address = _own_address(towards())
        except BaseException:
            self._client.close()
            raise
        self._is_lost = False
        self._bound: dict[tuple[int, int], ApiBinding] = {}
        """By protocol and port of ours."""

    def map(self, protocol: int, port: int) -> Mapped:
        """Ask for an external port; raises Refused."""
        return self._bind(protocol, port, None)

    def renew(self, known: Mapped) -> Mapped:
        """Ask for another lifetime of the same port; raises Refused."""
        if self._is_lost:
            with _refusals():
                self._client = GatewayClient(self._path)
            self._is_lost = False
        bound = self._bound[known.protocol, known.internal_port]
        try:
            seconds = self._client.extend(bound, self._lifetime)
        except (BindError, ApiError):  # the gateway began anew, or a rule has ended it
            return self._bind(known.protocol, known.internal_port, known)
        except (EOFError, OSError):
            self._lose()
            raise Refused("the gateway has hung up") from None
        return replace(known, lifetime=int(seconds))

    def delete(self, known: Mapped) -> None:
        """Return the port to the gateway; raises Refused."""
        bound = self._bound.pop((known.protocol, known.internal_port))
        with _refusals():
            self._client.withdraw(bound)

    def close(self) -> None:
        """Hang up: what is still bound ends."""
        self._client.close()

    @property
    def news(self) -> int | None:
        """The descriptor that is readable when there is something to `heed`; None: it has none."""
        return None if self._is_lost else self._client.fileno()

    def heed(self) -> bool:
        """Take in what the gateway says unasked; False when a port has gone, or the gateway has."""
        try:
            events = list(self._client.events(timeout=0.0))
        except OSError:
            events = []
        if self._client.has_ended:
            self._lose()
        return not self._is_lost and not any(one.event == "closed" for one in events)

    def _lose(self) -> None:
        self._client.close()
        self._is_lost = True

    def _bind(self, protocol: int, port: int, known: Mapped | None) -> Mapped:
        transport, flags = _KINDS[protocol]
        wish = None if known is None else str(Endpoint(known.external, known.port))
        with _refusals():
            bound = self._client.bind(
                [str(Endpoint(self.address, port))],
                transport=transport,
                protocol=_RIGHT,
                proxy_address=wish,
                flags=flags,
                ip_filter=self._peers,
                lifetime=self._lifetime,
            )
        self._bound[protocol, port] = bound
        at = Endpoint.parse(bound.proxy_address)
        return Mapped(protocol, port, at.address, at.port, int(bound.expires_in or self._lifetime))


def _own_address(towards: IpAddress) -> IpAddress:
    family = socket.AF_INET if towards.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((str(towards), _DISCARD))
        return parse_address(probe.getsockname()[0])


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Say in one line for a person why the gateway does not do it."""
    try:
        yield
    except BindError as error:
        raise Refused(f"the gateway refuses: {error.code} ({error.reason})") from None
    except ApiError as error:
        raise Refused(f"the gateway refuses: {error}") from None
    except (NotRunning, EOFError, OSError) as error:
        raise Refused(f"the gateway does not answer: {error}") from None
