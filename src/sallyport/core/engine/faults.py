"""Faults: what filters did wrong, and when one is trusted no more."""

from collections import defaultdict

from sallyport import limits
from sallyport.addresses import IpAddress


class Faults:
    """Counts the faults of every filter by client.

    One client alone cannot have a filter switched off for others: it may know what makes it fail.
    """

    def __init__(self) -> None:
        self._counts: defaultdict[str, dict[IpAddress, int]] = defaultdict(dict)

    def count(self, name: str, client: IpAddress) -> bool:
        """Count one fault; return whether it switches the filter off, for one client or for all."""
        was_off = self.is_off(name, client)
        counts = self._counts[name]
        if client in counts or len(counts) < limits.MAX_FILTER_FAULTS:
            counts[client] = counts.get(client, 0) + 1
        return not was_off and self.is_off(name, client)

    def is_off(self, name: str, client: IpAddress) -> bool:
        """Whether the filter is switched off for this client's new sessions."""
        counts = self._counts.get(name)
        if counts is None:
            return False
        return self.is_off_for_all(name) or counts.get(client, 0) >= limits.MAX_FILTER_FAULTS

    def is_off_for_all(self, name: str) -> bool:
        """Whether as many clients as that have seen it fail."""
        return len(self._counts.get(name, ())) >= limits.MAX_FILTER_FAULTS

    def explain(self) -> dict[str, str]:
        """Say of every filter that is off, for whom."""
        off = {}
        for name, counts in self._counts.items():
            if self.is_off_for_all(name):
                off[name] = f"switched off: it failed {len(counts)} clients"
            elif whom := [str(one) for one in counts if self.is_off(name, one)]:
                off[name] = f"switched off for {', '.join(whom)}: it failed there repeatedly"
        return off

    def forget(self) -> None:
        """Trust every filter again: they were replaced."""
        self._counts.clear()
