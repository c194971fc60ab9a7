"""The gateways that are compared, one class each."""

from bench.setups.base import Setup
from bench.setups.kernel import Direct, Helper, PlainNat, Routed
from bench.setups.mappers import Coturn, MiniUpnpd
from bench.setups.proxies import Dante, HaProxy, SuseProxy
from bench.setups.sallyport import (
    Sallyport,
    SallyportCapped,
    SallyportFiltered,
    SallyportLimited,
    SallyportPcp,
    SallyportSip,
    SallyportSipUser,
    SallyportSocks,
    SallyportTwoCapped,
    SallyportUser,
)

SETUPS: dict[str, type[Setup]] = {
    setup.name: setup
    for setup in (
        Direct,
        Routed,
        PlainNat,
        Helper,
        Sallyport,
        SallyportLimited,
        SallyportUser,
        SallyportFiltered,
        SallyportSocks,
        SallyportPcp,
        SallyportSip,
        SallyportSipUser,
        SallyportCapped,
        SallyportTwoCapped,
        Dante,
        SuseProxy,
        HaProxy,
        MiniUpnpd,
        Coturn,
    )
}

__all__ = ["SETUPS", "Setup"]
