"""Connections through the SOCKS server."""

from tests.interop.socks_client import CONNECT, GRANTED, Asked, asking, reply
from tests.soak.network import PATIENCE, TELLER_PORT, Network
from tests.soak.visits import Phase, Visit, compare, read


def socks(network: Network, visit: Visit) -> None:
    """Fetch a file through the SOCKS server."""
    name = visit.random.choice(("tiny", "some", "more"))
    server = str(network.lab.servers[1].address(visit.family))
    with asking(
        visit.client, visit.family, Asked(CONNECT, server, TELLER_PORT), timeout=PATIENCE
    ) as sock:
        code, _ = reply(sock)
        assert code == GRANTED
        visit.phase = Phase.MOVE
        sock.sendall(f"{name}\n".encode())
        compare(read(sock, visit), network.content[name])
    visit.phase = Phase.TALK
