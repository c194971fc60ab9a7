"""Counts what arrives at a host of the lab: media, sent by programs that do not count it."""

import json
import time
from ipaddress import ip_address

from sallyport.addresses import IpAddress
from sallyport.lab.host import Host

# Media comes fifty times a second; a question costs a program, so it is asked rarely.
_POLL_SECONDS = 0.2
_PATIENCE = 10.0

_TABLE = """\
table inet media_meter
delete table inet media_meter
table inet media_meter {{
  set heard4 {{ type ipv4_addr; flags dynamic; size 4096; }}
  set heard6 {{ type ipv6_addr; flags dynamic; size 4096; }}
  chain input {{
    type filter hook input priority filter; policy accept;
    udp dport {first}-{last} update @heard4 {{ ip saddr counter }}
    udp dport {first}-{last} update @heard6 {{ ip6 saddr counter }}
  }}
}}
"""


class MediaMeter:
    """Counts the datagrams that reach a host, by their source: in its kernel, so none is missed.

    It counts whether or not a program still listens: what comes after the end of a call is seen.
    """

    def __init__(self, host: Host, ports: range) -> None:
        """Count what comes to these ports from now on; a host has one meter, the latest."""
        self._host = host
        host.run(["nft", "-f", "-"], stdin=_TABLE.format(first=ports[0], last=ports[-1]))

    def wait_for(
        self, more: int, source: IpAddress | None = None, *, seconds: float = _PATIENCE
    ) -> None:
        """Return once so many more datagrams have come, of all or of one source.

        Raises TimeoutError, with the number that came, when it takes longer than `seconds`.
        """
        begun, deadline = self.heard(source), time.monotonic() + seconds
        while (come := self.heard(source) - begun) < more:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._host.name} hears {come} datagrams, not {more}")
            time.sleep(_POLL_SECONDS)

    def heard(self, source: IpAddress | None = None) -> int:
        """Return how many datagrams have come so far, of all or of one source."""
        answer = self._host.run(["nft", "--json", "list", "table", "inet", "media_meter"])
        total = 0
        for one in json.loads(answer.stdout)["nftables"]:
            for element in one.get("set", {}).get("elem", []):
                inner = element["elem"]
                if source in (None, ip_address(inner["val"])):
                    total += inner["counter"]["packets"]
        return total
