"""Every refusal, by the SDK's own number; a refused call has changed nothing."""

from collections.abc import Callable
from uuid import UUID

import pytest
from tests.contract.bench import Bench
from tests.contract.conftest import Build
from tests.contract.places import CONTRACT, FORCED_PORT
from tests.contract.setups import NAT, ROUTED

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.lifecycle import State
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.errors import (
    AddressInUse,
    AddressNotAllowed,
    AddressNotAvailable,
    BadContext,
    BindError,
    InvalidArgument,
    OutOfResources,
    PolicyDenied,
    QuotaExceeded,
    Terminating,
)
from sallyport.flags import BindFlags, Transport

OTHER = ProtocolDefinition("something-else", Transport.TCP, 9)

NUMBERS: list[tuple[type[BindError], int]] = [
    (PolicyDenied, 0xC004000D),
    (AddressInUse, 0x80072740),
    (AddressNotAvailable, 0x80072741),
    (AddressNotAllowed, 0xC004002E),
    (InvalidArgument, 0x80070057),
    (QuotaExceeded, 0xC0040033),
    (OutOfResources, 0xC0040024),
    (Terminating, 0xC0040001),
    (BadContext, 0xC004000A),
]


@pytest.mark.parametrize(("error", "number"), NUMBERS)
def test_each_error_carries_the_sdks_number(error: type[BindError], number: int) -> None:
    assert error("reason").hresult == number


def not_the_clients(bench: Bench) -> object:
    return bench.bind(Endpoint(bench.way.neighbour, 2000))


def not_the_gateways(bench: Bench) -> object:
    return bench.bind(proxy_address=Endpoint(bench.way.stranger, 0))


def a_local_programs(bench: Bench) -> object:
    return bench.bind(proxy_address=bench.at_outside(FORCED_PORT))


def an_unruled_protocol(bench: Bench) -> object:
    return bench.bind(protocol=OTHER)


def an_unknown_protocol(bench: Bench) -> object:
    return bench.bind(protocol=UUID(int=1))


def contradictory_flags(bench: Bench) -> object:
    return bench.bind(flags=BindFlags.TIMEOUT | BindFlags.ALLOW_MULTIPLE)


def over_the_quota(bench: Bench) -> object:
    return bench.bind(*(bench.client() for _ in range(5)))


def of_an_ended_primary(bench: Bench) -> object:
    return bench.bind(primary=bench.ended_primary())


def what_the_data_path_refuses(bench: Bench) -> object:
    bench.refuse_next_open()
    return bench.bind(bench.client(), bench.client())


REFUSALS: list[tuple[Callable[[Bench], object], type[BindError]]] = [
    (not_the_clients, AddressNotAllowed),
    (not_the_gateways, AddressNotAvailable),
    (a_local_programs, AddressInUse),
    (an_unruled_protocol, PolicyDenied),
    (an_unknown_protocol, InvalidArgument),
    (contradictory_flags, InvalidArgument),
    (over_the_quota, QuotaExceeded),
    (of_an_ended_primary, Terminating),
    (what_the_data_path_refuses, OutOfResources),
]


@pytest.mark.parametrize(("call", "error"), REFUSALS)
def test_a_refused_call_has_opened_nothing_and_changed_nothing(
    build: Build, call: Callable[[Bench], object], error: type[BindError]
) -> None:
    bench = build(max_bindings_per_client=5)
    bench.occupy(bench.at_outside(FORCED_PORT))
    bench.ended_primary()
    bench.bind()
    before = bench.holdings()

    with pytest.raises(error):
        call(bench)

    assert bench.holdings() == before
    # The refusal cost the client nothing: what is legal is granted.
    bench.bind()


def test_what_the_data_path_refuses_is_over_when_it_is_armed_later(bench: Bench) -> None:
    before = bench.holdings()
    binding = bench.bind(bench.client(), bench.client(), armed=False)
    bench.refuse_next_open()

    with pytest.raises(OutOfResources):
        bench.run(binding.arm())

    assert bench.holdings() == before
    assert binding.state is State.CLOSED


@ROUTED
def test_of_several_pinholes_one_that_exists_already_leaves_none_of_the_others(
    bench: Bench,
) -> None:
    first, taken, last = (bench.client() for _ in range(3))
    bench.bind(taken)
    before = bench.holdings()

    with pytest.raises(AddressInUse):
        bench.bind(first, taken, last)

    assert bench.holdings() == before
    bench.serve(first)
    assert bench.is_refused(bench.way.server, first)


@NAT
def test_when_every_port_is_taken_the_next_call_is_refused_and_a_kill_makes_room(
    build: Build,
) -> None:
    bench = build(max_bindings_per_client=2000)
    bindings = [bench.bind(*(bench.client() for _ in range(50))) for _ in range(20)]
    before = bench.holdings()

    with pytest.raises(AddressInUse):
        bench.bind()

    assert bench.holdings() == before
    bindings[0].connections[0].kill()
    bench.bind()


def test_the_quota_counts_ports_and_is_given_back(build: Build) -> None:
    bench = build(max_bindings_per_client=3)
    pair = bench.bind(bench.client(), bench.client())
    bench.bind()

    with pytest.raises(QuotaExceeded):
        bench.bind()
    pair.connections[1].kill()
    bench.bind()


def test_a_denied_bind_says_why_in_the_journal(bench: Bench) -> None:
    with pytest.raises(PolicyDenied):
        bench.bind(protocol=OTHER)

    assert bench.journal.reasons("binding.refused") == ["no-rule-matched"]
    assert OTHER.uuid != CONTRACT.uuid
