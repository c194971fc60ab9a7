"""What access rules call the rights that a client asks for by SOCKS."""

from typing import Final

from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.flags import Transport

# RFC 1928 section 3.
SOCKS_PORT: Final = 1080

SOCKS_CONNECT: Final = ProtocolDefinition("socks-connect", Transport.TCP, SOCKS_PORT)
SOCKS_BIND: Final = ProtocolDefinition("socks-bind", Transport.TCP, SOCKS_PORT)
SOCKS_UDP: Final = ProtocolDefinition("socks-udp", Transport.UDP, SOCKS_PORT)
