"""Lists say how each thing was asked for, for which user, and which worker serves it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from tests.core.test_published import RULE

from sallyport.addresses import Endpoint
from sallyport.core.engine.gateway import Gateway
from sallyport.core.model.binding import Binding
from sallyport.core.model.session import Session
from sallyport.core.policy.rules import Asker
from sallyport.core.policy.terms import Frontend
from sallyport.filters.ftp import FTP, FTP_SERVER, FtpFilter
from sallyport.flags import Transport
from sallyport.ops.config.catalogue import Catalogue
from sallyport.ops.config.load import Configuration, defaults
from sallyport.ops.config.settings import GatewaySettings
from sallyport.ops.control.handlers import Handlers
from sallyport.ops.logs import EventJournal
from sallyport.testing.world import make_gateway, make_policy

CLIENT, SERVER = Endpoint.parse("10.0.0.8:50000"), Endpoint.parse("203.0.113.9:21")
PROXY = Endpoint.parse("203.0.113.1:40271")
OUTSIDE, PEER = Endpoint.parse("198.51.100.9:50000"), Endpoint.parse("198.51.100.9:20")


@dataclass(frozen=True)
class Way:
    """One way of asking, and what the lists say of it."""

    name: str
    ask: Callable[[Gateway], Binding]
    frontend: str
    user: str | None
    source: str


def bound(session: Session, **asked: object) -> Binding:
    client = Endpoint(session.client_address, 1553)
    arguments = {"transport": Transport.TCP, "protocol": FTP, "proxy_address": PROXY} | asked
    return asyncio.run(session.bind_for_client([client], **arguments))  # type: ignore[arg-type]


def by_filter(gateway: Gateway) -> Binding:
    primary = gateway.admit_primary(FTP, CLIENT, SERVER)
    return bound(primary.session, primary=primary)


def through_socks(gateway: Gateway) -> Binding:
    primary = gateway.admit_primary(FTP, CLIENT, SERVER, Asker("alice", Frontend.SOCKS))
    return bound(primary.session, primary=primary)


def through_socks_after_pcp(gateway: Gateway) -> Binding:
    # One session has both: the client is the same, and no user is known.
    gateway.client_session(CLIENT.address, Asker(None, Frontend.PCP))
    primary = gateway.admit_primary(FTP, CLIENT, SERVER, Asker(None, Frontend.SOCKS))
    return bound(primary.session, primary=primary)


def published(gateway: Gateway) -> Binding:
    primary = gateway.admit_published(RULE, OUTSIDE)
    return bound(primary.session, primary=primary, protocol=FTP_SERVER)


def itself(user: str | None, way: Frontend) -> Callable[[Gateway], Binding]:
    def ask(gateway: Gateway) -> Binding:
        return bound(gateway.client_session(CLIENT.address, Asker(user, way)), frontend=way)

    return ask


WAYS = (
    Way("a filter", by_filter, "transparent", None, "secure-nat"),
    Way("a filter, of a client of SOCKS", through_socks, "socks", "alice", "firewall-client"),
    Way("a filter, after PCP", through_socks_after_pcp, "socks", None, "firewall-client"),
    Way("a filter, of a published server", published, "transparent", None, "secure-nat"),
    Way("PCP", itself(None, Frontend.PCP), "pcp", None, "firewall-client"),
    Way("SOCKS BIND", itself("alice", Frontend.SOCKS), "socks", "alice", "firewall-client"),
    Way("the local API", itself("bob", Frontend.API), "api", "bob", "firewall-client"),
)


@pytest.mark.parametrize("worker", [None, 2])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_sessions_bindings_and_transfers_agree_on_who_asked(way: Way, worker: int | None) -> None:
    policy = replace(make_policy(), publishing_rules=(RULE,))
    name = "" if worker is None else f"w{worker}."
    gateway, data_path, _ = make_gateway([FtpFilter()], policy=policy, name=name)
    configuration = Configuration(
        GatewaySettings(), policy, defaults(Catalogue.installed()), (FTP,), ()
    )
    handlers = Handlers(gateway, EventJournal(), lambda: configuration)
    binding = way.ask(gateway)
    data_path.connect(PEER, binding.proxy_address)

    (session,) = handlers.sessions({}).sessions
    (row,) = handlers.bindings({}).bindings
    (transfer,) = handlers.transfers({}).transfers
    assert (session.user, session.source, session.worker) == (way.user, way.source, worker)
    for one in (row, transfer):
        assert (one.frontend, one.user, one.worker) == (way.frontend, way.user, worker)
        assert one.session == session.id
