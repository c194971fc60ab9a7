"""What a peer says first: the caller of a timed bind over UDP may read it later, on each path."""

import pytest
from tests.contract.bench import Bench
from tests.contract.setups import HEARING, TCP, UDP

from sallyport import limits
from sallyport.flags import BindFlags

TIMED = BindFlags.BIDIRECTIONAL | BindFlags.TIMEOUT


@UDP
@pytest.mark.parametrize("more", [BindFlags.NONE, BindFlags.NO_KERNEL_MODE], ids=["usual", "user"])
def test_it_is_known_while_the_flow_runs(bench: Bench, more: BindFlags) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client, flags=TIMED | more)
    (connection,) = binding.connections
    assert connection.first_datagram() == b""

    talk = bench.reach(bench.way.server, binding.proxy_address)
    first = connection.first_datagram()
    assert talk.reaches_client(b"what comes later")

    assert 0 < len(first) <= limits.MAX_FIRST_DATAGRAM
    assert connection.first_datagram() == first != b"what comes later"


@HEARING
def test_there_is_none_where_the_client_spoke_first(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client, flags=TIMED | BindFlags.NO_KERNEL_MODE)
    _peer, seen = bench.speak_first(client, bench.way.server)
    bench.answer_to(seen, b"an answer")

    assert binding.connections[0].first_datagram() == b""


@TCP
def test_a_connection_has_none(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client)
    bench.reach(bench.way.server, binding.proxy_address)

    assert binding.connections[0].first_datagram() == b""
