"""Names of hosts: looked up by us, and judged by the addresses that they turn out to have."""

import asyncio
import socket
from ipaddress import ip_address

from sallyport import limits
from sallyport.addresses import IpAddress
from sallyport.frontends.socks.destinations import plain
from sallyport.wire.socks import Host


class NameUnknown(Exception):
    """A name has no address."""


async def addresses_of(host: Host, version: int | None = None) -> list[IpAddress]:
    """Return the addresses of a host, the preferred one first; `version` wants one family only.

    Numbers in any spelling that the resolver takes (`127.1`, `0x7f.1`, `2130706433`) are addresses
    like any other when they come back. Raises NameUnknown.
    """
    if not isinstance(host, str):
        return [plain(host)]
    family = {None: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}[version]
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(limits.NAME_LOOKUP_SECONDS):
            found = await loop.getaddrinfo(
                host, None, family=family, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
            )
    except (OSError, UnicodeError):  # the time limit is an OSError, and IDNA has errors of its own
        raise NameUnknown from None
    texts = (str(name[0]).partition("%")[0] for *_, name in found)
    return list(dict.fromkeys(plain(ip_address(text)) for text in texts))
