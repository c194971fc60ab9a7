from ipaddress import ip_address

import pytest
from tests.core.office import CLIENT, EXTERNAL, FTP, NEIGHBOUR, Office, run

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.pinholes.lifecycle import State
from sallyport.errors import (
    AddressInUse,
    AddressNotAvailable,
    KernelError,
    OutOfResources,
    QuotaExceeded,
    SallyportError,
)
from sallyport.flags import BindFlags, Transport
from sallyport.testing import MemoryDataPath
from sallyport.testing.world import GATEWAY_ADDRESSES


class PoorDataPath(MemoryDataPath):
    """Fails at the reservation after so many."""

    def __init__(self, failure: SallyportError, after: int) -> None:
        super().__init__(map(ip_address, GATEWAY_ADDRESSES))
        self.failure = failure
        self.left = after

    def reserve(self, transport: Transport, address: Endpoint, *, is_shared: bool = False) -> None:
        if not self.left:
            raise self.failure
        self.left -= 1
        super().reserve(transport, address, is_shared=is_shared)


def test_the_quota_counts_ports_and_permissions_of_all_the_clients_connections() -> None:
    office = Office(max_bindings_per_client=4)
    first, second = office.dial(), office.dial("10.0.0.8:50002")
    pair = office.bind(first, CLIENT, CLIENT)
    office.bind(second)
    office.allow(second, "198.51.100.9:3000")

    with pytest.raises(QuotaExceeded):
        office.bind(first)
    with pytest.raises(QuotaExceeded):
        office.allow(second, "198.51.100.9:3001")

    pair.connections[1].kill()
    assert office.bind(first).state is State.ARMED


def test_f23_a_flooder_is_refused_and_another_client_is_served() -> None:
    office = Office()
    admitted, bound, refused = 0, 0, 0
    for number in range(4096):
        try:
            primary = office.dial(f"10.0.0.8:{10000 + number}")
        except QuotaExceeded:
            refused += 1
            continue
        admitted += 1
        try:
            office.bind(primary)
        except QuotaExceeded:
            continue
        bound += 1

    assert admitted == limits.MAX_CONTROLS_PER_CLIENT
    assert refused == 4096 - limits.MAX_CONTROLS_PER_CLIENT
    assert bound == limits.MAX_BINDINGS_PER_CLIENT
    assert len(office.data_path.pinholes) == limits.MAX_BINDINGS_PER_CLIENT
    assert office.bind(office.dial("10.0.0.9:50000"), NEIGHBOUR).state is State.ARMED


def test_x02_an_empty_pool_is_an_error_and_recovers_with_the_first_port_given_back() -> None:
    office = Office(ports="40000-40003")
    primary = office.dial()
    held = [office.bind(primary) for _ in range(4)]
    before = office.holdings()

    with pytest.raises(AddressInUse, match="no-free-port"):
        office.bind(primary)
    assert office.holdings() == before

    held[2].kill()
    assert office.bind(primary).proxy_address == held[2].proxy_address


def test_x02_no_aligned_run_is_an_error_while_single_ports_are_left() -> None:
    office = Office(ports="40000-40003")
    primary = office.dial()
    for port in (40000, 40003):
        office.bind(primary, proxy_address=Endpoint(EXTERNAL, port))
    before = office.holdings()

    with pytest.raises(AddressInUse):
        office.bind(primary, CLIENT, CLIENT)
    assert office.holdings() == before
    assert office.bind(primary).proxy_address.port in (40001, 40002)


def test_a_port_that_a_local_program_has_is_passed_over() -> None:
    office = Office(ports="40000-40003")
    for port in (40000, 40001, 40003):
        office.data_path.occupied.add((Transport.TCP, Endpoint(EXTERNAL, port)))

    assert office.bind(office.dial()).proxy_address.port == 40002


def test_a_host_that_occupies_our_range_is_an_error_after_a_bounded_number_of_tries() -> None:
    office = Office()
    ports = range(40000, 41000)
    office.data_path.occupied = {(Transport.TCP, Endpoint(EXTERNAL, port)) for port in ports}
    primary = office.dial()
    before = office.holdings()

    with pytest.raises(AddressInUse, match="host-occupies-our-ports"):
        office.bind(primary)
    assert office.holdings() == before


def test_of_a_run_that_is_occupied_half_way_nothing_stays_reserved() -> None:
    office = Office(ports="40000-40003")
    office.data_path.occupied.add((Transport.TCP, Endpoint(EXTERNAL, 40002)))
    primary = office.dial()
    before = office.holdings()

    with pytest.raises(AddressInUse):
        office.bind(primary, *[CLIENT] * 4)
    assert office.holdings() == before


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize(
    "failure",
    [OutOfResources("no-descriptor"), KernelError("reserve", 5), AddressNotAvailable("gone")],
    ids=lambda failure: failure.code,
)
def test_a_failing_reservation_half_way_leaves_everything_as_it_was(
    failure: SallyportError, after: int
) -> None:
    office = Office(data_path=PoorDataPath(failure, after))
    primary = office.dial()
    before = office.holdings()

    with pytest.raises(type(failure)):
        office.bind(primary, *[CLIENT] * 4)
    assert office.holdings() == before
    assert len(office.reasons("binding.refused")) == 1


@pytest.mark.parametrize("armed", [True, False])
@pytest.mark.parametrize(
    "failure", [OutOfResources("set-full"), KernelError("open", 12)], ids=lambda f: f.code
)
def test_a_pinhole_the_data_path_refuses_leaves_everything_as_it_was(
    failure: SallyportError, armed: bool
) -> None:
    office = Office()
    primary = office.dial()
    before = office.holdings()

    async def open_two() -> None:
        binding = await primary.session.bind_for_client(
            [CLIENT, CLIENT],
            transport=Transport.TCP,
            protocol=FTP,
            flags=BindFlags.TIMEOUT,
            primary=primary,
            armed=armed,
        )
        await binding.arm()

    office.data_path.fail_next = failure
    with pytest.raises(type(failure)):
        run(open_two())

    assert office.holdings() == before
    assert office.reasons("binding.closed") == ["could-not-open"] * 2
    assert len(office.reasons("binding.refused")) == 1
    (record,) = (r for e, r in office.world.journal.records if e == "binding.refused")
    assert record["code"] == failure.code
    assert office.bind(primary).state is State.ARMED
