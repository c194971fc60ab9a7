"""Sallyport: an application-layer gateway for Linux."""

from typing import TYPE_CHECKING

from sallyport.addresses import Endpoint, PortRange
from sallyport.flags import BindFlags, Transport
from sallyport.ipfilter import IpFilter

if TYPE_CHECKING:
    from sallyport.ops.embedding import open_gateway as open_gateway

__all__ = [
    "BindFlags",
    "Endpoint",
    "IpFilter",
    "PortRange",
    "Transport",
    "__version__",
    "open_gateway",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import the whole gateway only for a program that opens one."""
    if name == "open_gateway":
        from sallyport.ops.embedding import open_gateway  # noqa: PLC0415 - see above

        return open_gateway
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
