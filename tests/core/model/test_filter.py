import pytest
from tests.core.office import PEER, Office, Wire, run

from sallyport.core.model.filter import DataFilter


@pytest.fixture
def streams() -> tuple[DataFilter, Wire, Wire]:
    data_filter, client, server = DataFilter(), Wire(), Wire()
    data_filter.set_sockets(client, server, Office().admit(), PEER, "context")
    return data_filter, client, server


def test_bytes_pass_untouched_each_to_the_other_end(
    streams: tuple[DataFilter, Wire, Wire],
) -> None:
    data_filter, client, server = streams
    run(data_filter.from_client(b"\x00\xffrequest"))
    run(data_filter.from_server(b"reply\r"))

    assert (client.sent, server.sent) == ([b"reply\r"], [b"\x00\xffrequest"])


def test_half_closes_pass_each_to_the_other_end(streams: tuple[DataFilter, Wire, Wire]) -> None:
    data_filter, client, server = streams
    run(data_filter.client_closed())
    assert (client.done, server.done) == ([], ["shutdown"])
    run(data_filter.server_closed())
    assert (client.done, server.done) == (["shutdown"], ["shutdown"])
