"""What is recorded of a server that could not be reached."""

import errno
from typing import Final

from sallyport.core.model.connection import PrimaryConnection

_REASONS: Final = {
    errno.ETIMEDOUT: "server-timed-out",
    errno.ECONNREFUSED: "server-refused-connection",
    errno.ECONNRESET: "server-reset",
    errno.ENETUNREACH: "no-route-to-server",
    errno.EHOSTUNREACH: "no-route-to-server",
}


def end_unreachable(primary: PrimaryConnection, error: OSError) -> None:
    """Record why the server of a connection could not be reached, and reset the connection."""
    # Our own time limit is a TimeoutError without number or text.
    number = errno.ETIMEDOUT if isinstance(error, TimeoutError) else error.errno
    reason = _REASONS.get(number or 0, "server-unreachable")
    said = error.strerror or str(error) or type(error).__name__
    primary.note("connect.failed", level="warning", reason=reason, error=said)
    primary.kill(reason)
