"""Published servers: what reaches them, and what they may open to the client that came to them."""

from itertools import count
from typing import Any

from tests.contract.bench import Bench
from tests.contract.conftest import Build
from tests.contract.places import PUBLISHED
from tests.contract.setups import NAT, over

from sallyport.addresses import Endpoint
from sallyport.core.model.future_connection import FutureConnection
from sallyport.flags import BindFlags, Transport

# Apart from what the gateway may give away; no test meets what conntrack remembers of another.
_ports = count(4000)

# Where nothing is translated the server opens its flow to the client itself. Behind NAT that takes
# netfilter, which the benches of user mode have only on routed relations.
DIRECT = over(lambda setup: setup.bench != "user" or not setup.is_nat)


def served(bench: Bench) -> Endpoint:
    """Let the client outside listen at another port."""
    outside = Endpoint(bench.way.stranger, next(_ports))
    bench.serve(outside)
    return outside


def allowed(
    bench: Bench,
    outside: Endpoint,
    **arguments: Any,  # noqa: ANN401 - any argument of allow_future_connect
) -> FutureConnection:
    """Let the published server open one flow to the client that came to it."""
    primary = bench.publish()
    primary.inside_address = Endpoint(bench.way.inside, 50002)
    return bench.run(
        primary.session.allow_future_connect(
            outside,
            transport=bench.transport,
            protocol=PUBLISHED[bench.transport],
            primary=primary,
            **arguments,
        )
    )


def test_the_client_outside_reaches_a_port_of_the_published_server(bench: Bench) -> None:
    client, primary = bench.client(), bench.publish()
    bench.serve(client)
    binding = bench.bind(
        client,
        primary=primary,
        protocol=PUBLISHED[bench.transport],
        flags=BindFlags.NONE if bench.transport is Transport.TCP else BindFlags.BIDIRECTIONAL,
    )
    talk = bench.reach(bench.way.stranger, binding.proxy_address)

    assert talk.at == client
    assert talk.reaches_client(b"from outside")
    assert talk.reaches_peer(b"from the server")


@DIRECT
def test_the_server_reaches_the_client_that_came_to_it(bench: Bench) -> None:
    outside = served(bench)
    future = allowed(bench, outside)
    talk = bench.run(bench.come(bench.way.client, future.proxy_address))

    assert talk is not None
    assert future.proxy_address == talk.at == outside
    assert talk.reaches_client(b"from the server")
    assert talk.reaches_peer(b"from outside")


@over(lambda setup: setup.bench == "kernel" and setup.is_nat)
def test_what_the_server_opens_leaves_from_the_published_address(bench: Bench) -> None:
    future = allowed(bench, served(bench))
    talk = bench.run(bench.come(bench.way.client, future.proxy_address))

    assert talk is not None
    assert talk.seen.address == bench.way.outside


@DIRECT
def test_in_user_mode_the_server_reaches_it_too(bench: Bench) -> None:
    outside = served(bench)
    future = allowed(bench, outside, flags=BindFlags.NO_KERNEL_MODE)
    talk = bench.run(bench.come(bench.way.client, future.proxy_address))

    assert talk is not None
    assert talk.at == outside
    assert talk.reaches_client(b"from the server")
    assert talk.reaches_peer(b"from outside")


@NAT
def test_in_full_proxy_the_server_reaches_it_by_a_port_of_ours(build: Build) -> None:
    bench = build(full_proxy=True)
    outside = served(bench)
    future = allowed(bench, outside)
    talk = bench.run(bench.come(bench.way.client, future.proxy_address))

    assert talk is not None
    assert future.proxy_address.address == bench.way.inside
    assert talk.at == outside
    assert talk.reaches_client(b"from the server")
    assert talk.reaches_peer(b"from outside")


@NAT
def test_no_other_host_inside_gets_out_by_the_port_of_a_published_server(build: Build) -> None:
    bench = build(full_proxy=True)
    future = allowed(bench, served(bench))

    assert bench.is_refused(bench.way.neighbour, future.proxy_address)
    assert bench.run(bench.come(bench.way.client, future.proxy_address)) is not None
