"""Ports of ours that lead the client outwards (`redirect_connections`)."""

from itertools import count
from typing import Any

from tests.contract.bench import Bench, Talk, Witness
from tests.contract.places import CONTRACT

from sallyport.addresses import Endpoint
from sallyport.core.model.future_connection import FutureConnection
from sallyport.flags import BindFlags

# Apart from what the gateway may give away; no test meets what conntrack remembers of another.
_server_ports = count(3000)


def redirect(
    bench: Bench,
    *servers: Endpoint,
    **arguments: Any,  # noqa: ANN401 - any argument of redirect_connections
) -> tuple[FutureConnection, ...]:
    everything: dict[str, Any] = {
        "transport": bench.transport,
        "protocol": CONTRACT,
        "primary": bench.primary,
        "internal_address": bench.way.inside,
    } | arguments
    return bench.run(bench.primary.session.redirect_connections(servers, **everything))


def served(bench: Bench) -> Endpoint:
    """Let the server listen at another port."""
    server = Endpoint(bench.way.server, next(_server_ports))
    bench.serve(server)
    return server


def connect(bench: Bench, redirected: FutureConnection) -> Talk:
    talk = bench.run(bench.come(bench.way.client, redirected.proxy_address))
    assert talk is not None, "turned away"
    return talk


def test_the_client_reaches_each_server_by_a_port_of_ours(bench: Bench) -> None:
    servers = [served(bench), served(bench)]
    for redirected, server in zip(redirect(bench, *servers), servers, strict=True):
        talk = connect(bench, redirected)

        assert talk.at == server
        assert talk.reaches_client(b"from here")
        assert talk.reaches_peer(b"from there")


def test_user_mode_leads_it_there_too(bench: Bench) -> None:
    server = served(bench)
    (redirected,) = redirect(bench, server, flags=BindFlags.NO_KERNEL_MODE)
    talk = connect(bench, redirected)

    assert talk.at == server
    assert talk.reaches_client(b"from here")
    assert talk.reaches_peer(b"from there")


def test_nobody_else_gets_there_and_a_stranger_uses_nothing_up(bench: Bench) -> None:
    (redirected,) = redirect(bench, served(bench))

    assert bench.is_refused(bench.way.neighbour, redirected.proxy_address)
    assert connect(bench, redirected).reaches_client(b"still there")


def test_one_connection_is_led_there_and_no_second_one(bench: Bench) -> None:
    (redirected,) = redirect(bench, served(bench))
    connect(bench, redirected)

    assert bench.is_refused(bench.way.client, redirected.proxy_address)


def test_what_is_cancelled_leads_nowhere_and_holds_nothing(bench: Bench) -> None:
    before = bench.holdings()
    (redirected,) = redirect(bench, served(bench))
    redirected.cancel()

    assert bench.is_refused(bench.way.client, redirected.proxy_address)
    assert bench.holdings().openings == before.openings


def test_who_asked_is_told(bench: Bench) -> None:
    caller = Witness()
    (redirected,) = redirect(bench, served(bench), session_filter=caller)
    talk = connect(bench, redirected)

    bench.until(lambda: caller.kinds() == ["EstablishedConnection"])
    assert redirected.latest_peer == talk.peer
