import pytest
from tests.core.office import CLIENT, EXTERNAL, PEER, Office, Witness, run

from sallyport.addresses import Endpoint
from sallyport.core.model.binding import Binding
from sallyport.core.model.events import ConnectionTerminating, Event
from sallyport.core.pinholes.lifecycle import State
from sallyport.errors import Terminating


def two_ports(office: Office) -> Binding:
    return office.bind(office.dial(), CLIENT, CLIENT)


def test_a_binding_is_as_alive_as_its_most_alive_connection() -> None:
    office = Office()
    binding = office.bind(office.dial(), CLIENT, CLIENT, armed=False)
    first, second = binding.connections
    states = [binding.state]
    run(binding.arm())
    states.append(binding.state)
    first.kill()
    states.append(binding.state)
    office.data_path.connect(PEER, second.proxy_address)
    states.append(binding.state)
    second.kill()
    states.append(binding.state)

    assert states == [State.RESERVED, State.ARMED, State.ARMED, State.LIVE, State.CLOSED]


def test_a_connection_knows_its_binding_until_the_last_one_has_ended() -> None:
    binding = two_ports(Office())
    first, second = binding.connections
    first.kill()
    known = [first.binding, second.binding]
    second.kill()
    known += [first.binding, second.binding]

    assert known == [binding, binding, None, None]
    assert binding.connections == (first, second)
    assert (second.session, second.rule) == (binding.session, binding.rule)


def test_its_proxy_address_is_the_lowest_port() -> None:
    binding = two_ports(Office())
    assert binding.proxy_address == min(c.proxy_address for c in binding.connections)


def test_it_can_be_armed_once() -> None:
    office = Office()
    binding = office.bind(office.dial(), armed=False)
    run(binding.arm())
    with pytest.raises(Terminating, match="not-in-this-state"):
        run(binding.arm())
    assert office.data_path.connect(PEER, binding.proxy_address) == CLIENT


def test_a_withdrawn_one_cannot_be_armed_and_opens_nothing() -> None:
    office = Office()
    binding = office.bind(office.dial(), armed=False)
    binding.withdraw()
    with pytest.raises(Terminating, match="not-in-this-state"):
        run(binding.arm())
    assert not office.data_path.pinholes


def test_withdraw_closes_what_waits_and_leaves_what_runs() -> None:
    office = Office()
    binding = two_ports(office)
    running, waiting = binding.connections
    office.data_path.connect(PEER, running.proxy_address)
    for _ in range(2):
        binding.withdraw("replaced")

    assert (running.state, waiting.state) == (State.LIVE, State.CLOSED)
    assert office.reasons("binding.closed") == ["replaced"]
    assert binding.id in binding.session.bindings
    office.data_path.finish(PEER)
    assert binding.id not in binding.session.bindings


def test_kill_resets_what_runs_and_gives_every_port_back() -> None:
    office = Office()
    primary = office.dial()
    before = office.holdings()
    binding = office.bind(primary, CLIENT, CLIENT)
    office.data_path.connect(PEER, binding.proxy_address)
    for _ in range(2):
        binding.kill("operator")

    assert [peer for _, peer in office.data_path.resets] == [PEER]
    assert office.reasons("binding.closed") == ["operator", "operator"]
    assert office.holdings() == before


@pytest.mark.parametrize("ending", ["kill", "withdraw"])
@pytest.mark.parametrize("has_primary", [True, False])
def test_a_filter_may_end_the_rest_when_told_of_the_end_of_a_part(
    ending: str, has_primary: bool
) -> None:
    office, witness = Office(), Witness()
    primary = office.dial()
    asked_by = primary if has_primary else None
    proxy = Endpoint(EXTERNAL, 0)
    binding = office.bind(
        primary, CLIENT, CLIENT, session_filter=witness, primary=asked_by, proxy_address=proxy
    )

    def react(event: Event) -> None:
        if isinstance(event, ConnectionTerminating):
            getattr(binding, ending)()

    witness.react = react
    binding.connections[0].kill()

    assert witness.kinds() == ["ConnectionTerminating"] * 2
    assert binding.state is State.CLOSED
    assert not binding.session.bindings
    assert not office.data_path.pinholes


def test_a_binding_that_is_handed_over_gives_its_ports_back_and_lets_its_transfer_run() -> None:
    office = Office()
    binding = two_ports(office)
    first, second = binding.connections
    office.data_path.connect(PEER, first.proxy_address)

    binding.hand_over("restart")
    free = office.bind(office.dial(), CLIENT, proxy_address=second.proxy_address)
    binding.hand_over("restart")

    assert free.proxy_address == second.proxy_address
    assert office.data_path.flows
