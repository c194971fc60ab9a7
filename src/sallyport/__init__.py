"""Sallyport: an application-layer gateway for Linux."""

from sallyport.addresses import Endpoint, PortRange
from sallyport.flags import BindFlags, Transport
from sallyport.ipfilter import IpFilter

__all__ = ["BindFlags", "Endpoint", "IpFilter", "PortRange", "Transport", "__version__"]
__version__ = "0.1.0"
