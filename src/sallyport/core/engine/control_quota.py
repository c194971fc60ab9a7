"""ControlQuota: how many control connections one host, one outside client, and all may hold."""

from collections import Counter

from sallyport import limits
from sallyport.core.model.connection import PrimaryConnection


class ControlQuota:
    """Counts control connections by account (`Session.account`, `PrimaryConnection.account`)."""

    def __init__(self, of_all: int) -> None:
        """Allow `of_all` connections of all clients together; one client gets a part of them."""
        self._of_all = of_all
        part = max(1, of_all // limits.CONTROLS_PART_OF_A_CLIENT)
        self.of_one = min(limits.MAX_CONTROLS_PER_CLIENT, part)
        """How many one host may hold."""
        self._by_account: Counter[str] = Counter()
        self._count = 0

    def excess(self, protected: str, account: str) -> str | None:
        """Return why one connection more is refused; None when it is not.

        `protected` is the protected host's account, and `account` that of who asks: another one for
        an outside client of a published server.
        """
        if self._count >= self._of_all:
            return "too-many-connections"
        if self._by_account[protected] >= self.of_one:
            return "too-many-controls"
        if account != protected and self._by_account[account] >= limits.MAX_CONTROLS_PER_PEER:
            return "too-many-controls"
        return None

    def add(self, primary: PrimaryConnection) -> None:
        """Count a connection that was admitted."""
        self._count += 1
        for account in {primary.session.account, primary.account}:
            self._by_account[account] += 1

    def remove(self, primary: PrimaryConnection) -> None:
        """Count a connection no longer: it is over."""
        self._count -= 1
        for account in {primary.session.account, primary.account}:
            self._by_account[account] -= 1
            if not self._by_account[account]:
                del self._by_account[account]
