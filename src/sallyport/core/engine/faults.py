"""Faults: counts the faults of filters, and decides when a filter is switched off."""

from collections import defaultdict

from sallyport import limits


class Faults:
    """Counts the faults of every filter by client.

    `limits.MAX_FILTER_FAULTS` faults with one client switch a filter off for that client; faults
    with as many clients, for all. One client alone cannot switch a filter off for others, because
    it may know input that makes the filter fail (attack X07).
    """

    def __init__(self) -> None:
        self._counts: defaultdict[str, dict[str, int]] = defaultdict(dict)
        self._condemned: set[str] = set()

    def count(self, name: str, client: str) -> bool:
        """Count one fault; return True when it switches the filter off for this client, or all."""
        was_off = self.is_off(name, client)
        counts = self._counts[name]
        if client in counts or len(counts) < limits.MAX_FILTER_FAULTS:
            counts[client] = counts.get(client, 0) + 1
        return not was_off and self.is_off(name, client)

    def is_off(self, name: str, client: str) -> bool:
        """Whether the filter is switched off for this client."""
        counts = self._counts.get(name)
        if counts is None:
            return False
        return self.is_off_for_all(name) or counts.get(client, 0) >= limits.MAX_FILTER_FAULTS

    def is_off_for_all(self, name: str) -> bool:
        """Whether the filter has failed with so many clients that it is off for all of them."""
        failed = len(self._counts.get(name, ()))
        return name in self._condemned or failed >= limits.MAX_FILTER_FAULTS

    def condemn(self, name: str) -> None:
        """Switch a filter off for all: it has failed with so many clients of another worker."""
        self._condemned.add(name)

    def explain(self) -> dict[str, str]:
        """Return a sentence for each filter that is off: for which clients, and why."""
        off = dict.fromkeys(self._condemned, "switched off: it failed clients of another worker")
        for name, counts in self._counts.items():
            if len(counts) >= limits.MAX_FILTER_FAULTS:
                off[name] = f"switched off: it failed {len(counts)} clients"
            elif name not in off and (whom := [one for one in counts if self.is_off(name, one)]):
                off[name] = f"switched off for {', '.join(whom)}: it failed there repeatedly"
        return off

    def forget(self) -> None:
        """Set every count to zero: the filters were replaced."""
        self._counts.clear()
        self._condemned.clear()
