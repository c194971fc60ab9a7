"""Resting ports: a queue from which any member can be taken, in as much memory full as empty."""

from array import array

# The index before the first and behind the last port: the head of the ring.
_HEAD = -1


class Resting:
    """Indexes in order of arrival, each with a time; every operation costs constant time.

    A ring in two arrays, an index being its own place. A dict in insertion order would need three
    times the memory and grow with the first burst, or lose its constant time at the front.
    """

    def __init__(self, size: int) -> None:
        """Make room for the indexes 0 to `size` - 1; none rests."""
        # The last place of each array is the head's: Python's index -1.
        self._next = array("i", [_HEAD]) * (size + 1)
        self._previous = array("i", [_HEAD]) * (size + 1)
        self._until = array("d", [0.0]) * size
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, index: int) -> bool:
        return self._previous[index] != _HEAD or self._next[_HEAD] == index

    def add(self, index: int, until: float) -> None:
        """Put `index`, which does not rest, at the end."""
        last = self._previous[_HEAD]
        self._next[last] = self._previous[_HEAD] = index
        self._previous[index], self._next[index] = last, _HEAD
        self._until[index] = until
        self._count += 1

    def remove(self, index: int) -> None:
        """Take out `index`, which rests."""
        before, behind = self._previous[index], self._next[index]
        self._next[before], self._previous[behind] = behind, before
        self._previous[index] = self._next[index] = _HEAD
        self._count -= 1

    @property
    def first(self) -> int | None:
        """The index that came first; None when none rests."""
        first = self._next[_HEAD]
        return None if first == _HEAD else first

    def is_over(self, index: int, now: float) -> bool:
        """Whether the time of `index`, which rests, has come."""
        return self._until[index] <= now
