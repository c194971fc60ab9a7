"""What access rules call the rights that a client asks for itself, at a front end."""

from typing import Final

from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.terms import Frontend
from sallyport.flags import Transport

# RFC 1928 section 3.
_SOCKS_PORT: Final = 1080

PORT_MAPPING: Final = ProtocolDefinition("port-mapping", Transport.UDP, 5351)
"""A mapping, by whatever protocol it is asked for."""

SOCKS_CONNECT: Final = ProtocolDefinition("socks-connect", Transport.TCP, _SOCKS_PORT)
SOCKS_BIND: Final = ProtocolDefinition("socks-bind", Transport.TCP, _SOCKS_PORT)
SOCKS_UDP: Final = ProtocolDefinition("socks-udp", Transport.UDP, _SOCKS_PORT)

RIGHTS: Final = {one.name: one for one in (PORT_MAPPING, SOCKS_CONNECT, SOCKS_BIND, SOCKS_UDP)}


KNOWING_USERS: Final = frozenset({Frontend.SOCKS, Frontend.API})
"""The ways of asking by which a client has a user."""


def usual_way(protocol: str, *, is_user: bool = False) -> Frontend:
    """Return how a client asks for a protocol where nothing else is said.

    `is_user`: one whose user is known.
    """
    if protocol not in RIGHTS:
        return Frontend.SOCKS if is_user else Frontend.TRANSPARENT
    return Frontend.PCP if protocol == PORT_MAPPING.name else Frontend.SOCKS
