"""FirewallAction: a promise about something that may never happen."""

from typing import Protocol


class FirewallAction(Protocol):
    """What `allow_future_connect`, `redirect_connections` and `set_data_filter_factory` give.

    (`IFWXFirewallAction`.) It ends by itself when it was used, if it was for one use only; when
    its time has passed; and with its session.
    """

    def cancel(self) -> None:
        """Take the promise back; raises Terminating when it is over already."""
