"""Rates: how fast each client may ask for one kind of thing, such as bindings.

A token bucket for each client and rule, kept as one number: the moment at which the bucket is full
again (GCRA, ITU-T I.371). It holds what a minute grants, so a client may take that at once
and then goes on at the rate.
"""

from itertools import islice

from sallyport import limits
from sallyport.core.policy.trail import Trail

_MINUTE = 60.0

# Sums of fractions of a second are not exact: the last one of a minute's worth must still pass.
_ROUNDING = 1e-6

_Bucket = tuple[str, str]


class Rates:
    """The buckets of one gateway, by account and rule; a full one is forgotten."""

    def __init__(self, key: str) -> None:
        """Keep to what rules write under `key`, such as `max_binds_per_minute`."""
        self._key = key
        self._full_at: dict[_Bucket, float] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    def used(self, account: str, rule: str, per_minute: int, now: float) -> float:
        """Return how much of a minute's worth is used up, 0 to `per_minute`."""
        left = self._full_at.get((account, rule), now) - now
        return max(left, 0.0) * per_minute / _MINUTE

    def has_room(
        self,
        account: str,
        rule: str,
        per_minute: int,
        count: int,
        now: float,
        *,
        trail: Trail | None = None,
    ) -> bool:
        """Return whether `count` more may be asked for now; `trail` is told."""
        full_at = max(self._full_at.get((account, rule), now), now)
        is_kept = full_at - now + count * _MINUTE / per_minute <= _MINUTE + _ROUNDING
        if trail is not None:
            used = round(self.used(account, rule, per_minute, now))
            trail.limit(self._key, rule, value=per_minute, used=used, is_kept=is_kept)
        return is_kept

    def spend(self, account: str, rule: str, per_minute: int, count: int, now: float) -> None:
        """Take `count` out of the bucket."""
        bucket = account, rule
        full_at = max(self._full_at.pop(bucket, now), now)
        self._full_at[bucket] = full_at + count * _MINUTE / per_minute
        self._forget_full(now)

    def _forget_full(self, now: float) -> None:
        """Forget buckets that are full: two looked at for each one used, so that they run out."""
        for bucket in tuple(islice(self._full_at, limits.RATES_SWEPT)):
            if self._full_at[bucket] <= now:
                del self._full_at[bucket]
