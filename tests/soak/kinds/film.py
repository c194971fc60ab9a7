"""Films by RTSP, whose pictures come as datagrams."""

from time import monotonic

from tests.interop.rtsp_peers import SERVER_PORTS, Film
from tests.soak.network import PATIENCE, Network
from tests.soak.visits import Phase, Visit

from sallyport.addresses import Endpoint

# Datagrams of a film.
_PICTURES = 20
# What the lab delivers within a millisecond, on a machine that has others to serve.
_SILENCE = 3.0


def film(network: Network, visit: Visit) -> None:
    """Agree on a film by RTSP, and see its pictures."""
    screens = network.screens[visit.family]
    server = screens.get(timeout=PATIENCE)
    try:
        first = network.port_of_media()
        with Film(
            visit.client, server, visit.family, (first, first + 1), patience=PATIENCE
        ) as shown:
            visit.is_named(shown.control.getsockname())
            visit.is_named(shown.player[0].getsockname())
            visit.phase = Phase.OPEN
            port, _ = shown.set_up()
            outside = Endpoint(server.address(visit.family), SERVER_PORTS[0])
            # The first datagram begins a flow.
            assert shown.shows(1, (shown.peer, port), silence=_SILENCE) == 1, "no picture"
            with visit.transfer(outside, _PICTURES):
                seen, until = 0, monotonic() + PATIENCE
                while seen < _PICTURES:
                    # A picture that is lost, as datagrams are, is sent again.
                    seen += shown.shows(_PICTURES - seen, (shown.peer, port), silence=_SILENCE)
                    assert monotonic() < until, f"{seen} pictures"
            shown.tear_down()
    finally:
        screens.put(server)
