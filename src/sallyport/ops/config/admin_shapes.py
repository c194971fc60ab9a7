"""`[admin]` and `[metrics]`: where a gateway is asked over TCP, and by whom; valid once built."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from sallyport.addresses import Endpoint

_LISTEN = 'an address and a port, such as "127.0.0.1:8470" or "[::1]:8470"'

Listen = Annotated[str, Meta(description=_LISTEN)]
TokenFile = Annotated[str, Meta(description="an absolute path in quotes")]


class AdminShape(Struct, frozen=True, kw_only=True):
    """`[admin]`: the admin API and its web page over TCP, for those who know a token."""

    listen: Listen
    """A loopback address and a port. From elsewhere it is reached through ssh, or a proxy that
    speaks TLS."""
    control_token_file: TokenFile | None = None
    """A file with one line; who knows it may do everything. Others must not be able to read it."""
    monitor_token_file: TokenFile | None = None
    """A file with one line; who knows it may look, and change nothing."""

    def __post_init__(self) -> None:
        """Raise ValueError for what cannot work."""
        if not ip_address(_endpoint(self.listen).address).is_loopback:
            raise ValueError(f"{self.listen} is no loopback address; write 127.0.0.1:PORT")
        files = (self.control_token_file, self.monitor_token_file)
        if files == (None, None):
            raise ValueError("without a token there is no access; give it control_token_file")
        for file in files:
            if file is not None and not Path(file).is_absolute():
                raise ValueError(f"{file!r} is not an absolute path; begin it with /")


class MetricsShape(Struct, frozen=True, kw_only=True):
    """`[metrics]`: counters for Prometheus at `/metrics`; `/healthz` and `/readyz` beside it."""

    listen: Listen
    """An address and a port; there is no token, and what is told names no host."""

    def __post_init__(self) -> None:
        """Raise ValueError for what cannot work."""
        _endpoint(self.listen)


def _endpoint(text: str) -> Endpoint:
    try:
        endpoint = Endpoint.parse(text)
    except ValueError:
        raise ValueError(f"listen cannot be {text!r}; write {_LISTEN}") from None
    if endpoint.port == 0:
        raise ValueError(f"listen {text!r} has no port; write {_LISTEN}")
    return endpoint
