"""Hosts: whom a rule means by `from` and `to`: networks by name, and addresses."""

from dataclasses import dataclass, field
from typing import Self

from sallyport.addresses import IpAddress
from sallyport.ipfilter import IpFilter


@dataclass(frozen=True, slots=True)
class Hosts:
    """A set of hosts: all of some networks, and single addresses wherever they are."""

    networks: frozenset[str] = frozenset()
    addresses: IpFilter = field(default_factory=IpFilter)

    @classmethod
    def of(cls, *networks: str) -> Self:
        """Return all hosts of these networks."""
        return cls(frozenset(networks))

    def holds(self, network: str, address: IpAddress | None) -> bool:
        """Return whether a host is meant: the one at `address`, in the network of this name.

        `address` None is a host not known yet: it is in its network, and at no address.
        """
        if network in self.networks:
            return True
        return address is not None and address in self.addresses

    def may_hold(self, network: str, address: IpAddress | None) -> bool:
        """Return whether a host may turn out to be meant: one not known yet may have any address.

        A rule that denies must hold for each host that may come; one that allows, for all of them.
        """
        return self.holds(network, address) or (address is None and bool(self.addresses))

    @property
    def texts(self) -> tuple[str, ...]:
        """Networks and ranges as one writes them in a rule."""
        ranges = (str(a) if a == b else f"{a}-{b}" for a, b in self.addresses.ranges)
        return (*sorted(self.networks), *ranges)
