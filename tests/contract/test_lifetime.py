"""How long a binding lives: until it is used, killed, timed out, or its primary ends."""

import pytest
from tests.contract.bench import Bench
from tests.contract.setups import NAT, TCP, UDP, over

from sallyport.core.model.binding import Binding
from sallyport.core.pinholes.lifecycle import State
from sallyport.errors import InvalidArgument, Terminating
from sallyport.flags import BindFlags, Transport

ALMOST_A_MINUTE, A_MINUTE, A_DAY = 59.0, 61.0, 86_400.0
HALF_A_MINUTE, TWO_MINUTES = 30.0, 122.0


def state_of(binding: Binding) -> State:
    """The state now; asked by a call, because type checkers think that a property stays."""
    return binding.state


# -- armed later ----------------------------------------------------------------------------------


def test_what_is_not_armed_is_reserved_and_lets_nobody_in(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client, armed=False)

    assert state_of(binding) is State.RESERVED
    assert bench.is_refused(bench.way.server, binding.proxy_address)
    bench.run(binding.arm())
    assert state_of(binding) is State.ARMED
    assert bench.reach(bench.way.server, binding.proxy_address).reaches_client(b"hello")


def test_a_binding_is_armed_once(bench: Bench) -> None:
    binding = bench.bind()

    with pytest.raises(Terminating):
        bench.run(binding.arm())
    assert state_of(binding) is State.ARMED


def test_a_binding_that_was_killed_cannot_be_armed(bench: Bench) -> None:
    binding = bench.bind(armed=False)
    binding.kill()

    with pytest.raises(Terminating):
        bench.run(binding.arm())


# -- TIMEOUT --------------------------------------------------------------------------------------


def test_timeout_closes_what_nobody_used_for_a_minute(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    before = bench.holdings()
    binding = bench.bind(client, flags=BindFlags.TIMEOUT)

    bench.pass_time(ALMOST_A_MINUTE)
    assert state_of(binding) is State.ARMED
    bench.pass_time(A_MINUTE)
    assert state_of(binding) is State.CLOSED
    assert bench.is_refused(bench.way.server, binding.proxy_address)
    assert bench.holdings().openings == before.openings


def test_the_minute_starts_when_the_binding_is_armed(bench: Bench) -> None:
    binding = bench.bind(flags=BindFlags.TIMEOUT, armed=False)
    bench.pass_time(ALMOST_A_MINUTE)

    bench.run(binding.arm())
    bench.pass_time(ALMOST_A_MINUTE)
    assert state_of(binding) is State.ARMED


def test_a_reservation_times_out_as_well(bench: Bench) -> None:
    binding = bench.bind(flags=BindFlags.TIMEOUT, armed=False)
    bench.pass_time(A_MINUTE)

    assert state_of(binding) is State.CLOSED


def test_without_timeout_a_binding_lives_until_it_is_killed(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client)
    bench.pass_time(A_DAY)

    assert bench.reach(bench.way.server, binding.proxy_address).reaches_client(b"hello")


@TCP
def test_an_accepted_connection_is_not_timed_out(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client, flags=BindFlags.TIMEOUT)
    talk = bench.reach(bench.way.server, binding.proxy_address)
    bench.pass_time(A_DAY)

    assert state_of(binding) is State.LIVE
    assert talk.reaches_client(b"still here")


def test_timeout_excludes_allow_multiple(bench: Bench) -> None:
    with pytest.raises(InvalidArgument):
        bench.bind(flags=BindFlags.TIMEOUT | BindFlags.ALLOW_MULTIPLE)


@UDP
def test_timeout_closes_a_datagram_binding_when_it_has_become_idle(
    short_silence: None, bench: Bench
) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client, flags=BindFlags.TIMEOUT)
    bench.reach(bench.way.server, binding.proxy_address)

    bench.fall_silent(binding)
    assert state_of(binding) is State.CLOSED
    assert bench.is_refused(bench.way.server, binding.proxy_address)


@UDP
def test_without_timeout_the_one_source_may_fall_silent_and_come_back(
    short_silence: None, bench: Bench
) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client)
    talk = bench.reach(bench.way.server, binding.proxy_address)

    bench.fall_silent(binding)
    assert state_of(binding) is State.LIVE
    assert bench.is_refused(bench.way.stranger, binding.proxy_address)
    assert talk.reaches_client(b"back again")


# -- kill -----------------------------------------------------------------------------------------


def test_kill_closes_the_pinhole_and_gives_everything_back(bench: Bench) -> None:
    before = bench.holdings()
    binding = bench.bind()
    binding.connections[0].kill()

    assert state_of(binding) is State.CLOSED
    after = bench.holdings()
    assert (after.path, after.openings, after.bindings) == (before.path, 0, ())
    # The port rests before it is drawn again, and counts as free.
    assert after.ports == before.ports


def test_kill_is_idempotent_and_harmless_after_the_end(bench: Bench) -> None:
    binding = bench.bind()
    for _ in range(3):
        binding.connections[0].kill()
        binding.kill()

    assert state_of(binding) is State.CLOSED
    assert bench.witness.kinds() == ["ConnectionTerminating"]


def test_a_withdrawn_binding_lets_nobody_new_in_and_what_runs_goes_on(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client, flags=BindFlags.ALLOW_MULTIPLE)
    talk = bench.reach(bench.way.server, binding.proxy_address)
    binding.withdraw()

    assert bench.is_refused(bench.way.stranger, binding.proxy_address)
    assert talk.reaches_client(b"still here")
    assert state_of(binding) is State.LIVE


# -- the primary ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "kill"])
def test_a_binding_ends_with_its_primary(bench: Bench, how: str) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client)
    getattr(bench.primary, how)("over")

    assert state_of(binding) is State.CLOSED
    assert bench.is_refused(bench.way.server, binding.proxy_address)


@TCP
def test_f22_a_transfer_under_way_may_finish_when_its_primary_ends(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client)
    talk = bench.reach(bench.way.server, binding.proxy_address)
    bench.primary.close("over")

    assert state_of(binding) is State.LIVE
    assert talk.reaches_client(b"the rest")
    talk.finish()
    bench.until(lambda: binding.state is State.CLOSED)


@pytest.mark.parametrize("how", ["close", "kill"])
def test_what_runs_ends_with_its_primary_where_the_bind_says_so(bench: Bench, how: str) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client, close_with_primary="kill")
    bench.reach(bench.way.server, binding.proxy_address)
    getattr(bench.primary, how)("over")

    assert state_of(binding) is State.CLOSED
    assert not binding.connections[0].running
    assert bench.is_refused(bench.way.server, binding.proxy_address)


@NAT
def test_without_a_primary_a_binding_outlives_every_control_connection(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client, primary=None, proxy_address=bench.at_outside())
    bench.primary.close("over")

    assert bench.reach(bench.way.server, binding.proxy_address).reaches_client(b"hello")


@over(lambda setup: setup.is_nat and setup.bench != "api")
def test_without_a_primary_the_proxy_address_must_be_named(bench: Bench) -> None:
    with pytest.raises(InvalidArgument):
        bench.bind(primary=None)


def test_killing_the_session_ends_everything_it_has(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    used, unused = bench.bind(client), bench.bind()
    bench.reach(bench.way.server, used.proxy_address)
    bench.primary.session.kill()

    assert (used.state, unused.state) == (State.CLOSED, State.CLOSED)
    with pytest.raises(Terminating):
        bench.bind()


# -- a life of its own ----------------------------------------------------------------------------


def test_a_life_of_its_own_ends_a_binding_and_may_be_extended(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client, lifetime=ALMOST_A_MINUTE)
    assert binding.extend(A_MINUTE) == A_MINUTE
    bench.pass_time(ALMOST_A_MINUTE)
    assert state_of(binding) is State.ARMED

    bench.pass_time(A_MINUTE)
    assert state_of(binding) is State.CLOSED
    assert bench.is_refused(bench.way.server, binding.proxy_address)


@TCP
def test_what_runs_at_the_end_of_that_life_goes_on(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client, lifetime=A_MINUTE)
    talk = bench.reach(bench.way.server, binding.proxy_address)
    bench.pass_time(A_MINUTE)

    assert talk.reaches_client(b"still here")
    assert bench.is_refused(bench.way.stranger, binding.proxy_address)


@UDP
def test_datagrams_have_no_end_so_they_pass_no_longer_when_that_life_is_over(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client, lifetime=A_MINUTE)
    bench.reach(bench.way.server, binding.proxy_address)
    bench.pass_time(A_MINUTE)

    assert state_of(binding) is State.CLOSED
    assert bench.is_refused(bench.way.server, binding.proxy_address)


# -- silence ---------------------------------------------------------------------------------------


def test_what_nobody_uses_ends_when_its_idle_time_is_over(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client, idle=A_MINUTE)
    bench.pass_time(ALMOST_A_MINUTE)
    assert (left := binding.expires_in) is not None
    # Not to the microsecond: each look of its own begins when the last one has ended.
    assert left < HALF_A_MINUTE

    bench.pass_time(HALF_A_MINUTE)
    assert state_of(binding) is State.CLOSED
    assert bench.is_refused(bench.way.server, binding.proxy_address)
    assert bench.journal.reasons("binding.closed") == ["idle-time-is-over"]


def test_idle_time_counts_from_when_the_binding_is_armed(bench: Bench) -> None:
    binding = bench.bind(idle=A_MINUTE, armed=False)
    bench.pass_time(ALMOST_A_MINUTE)
    bench.run(binding.arm())

    bench.pass_time(ALMOST_A_MINUTE)
    assert state_of(binding) is State.ARMED
    bench.pass_time(HALF_A_MINUTE)
    assert state_of(binding) is State.CLOSED


def test_what_is_used_again_and_again_does_not_become_idle(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    flags = BindFlags.NONE if bench.transport is Transport.TCP else BindFlags.BIDIRECTIONAL
    binding = bench.bind(client, flags=flags, idle=A_MINUTE)
    talk = bench.reach(bench.way.server, binding.proxy_address)
    for speak in (talk.reaches_client, talk.reaches_peer) * 2:
        bench.pass_time(HALF_A_MINUTE)
        assert speak(b"hello")

    bench.pass_time(HALF_A_MINUTE)
    assert state_of(binding) is not State.CLOSED
    assert talk.reaches_client(b"hello once more")


def test_what_runs_in_silence_is_ended_with_its_binding(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client, idle=A_MINUTE)
    bench.reach(bench.way.server, binding.proxy_address)

    bench.pass_time(TWO_MINUTES)
    assert state_of(binding) is State.CLOSED
    assert not binding.connections[0].running
    assert bench.is_refused(bench.way.server, binding.proxy_address)


def test_one_port_that_is_used_keeps_all_ports_of_its_binding(bench: Bench) -> None:
    clients = bench.client(), bench.client()
    for client in clients:
        bench.serve(client)
    binding = bench.bind(*clients, idle=A_MINUTE)
    talk = bench.reach(bench.way.server, binding.connections[1].proxy_address)
    for _ in range(3):
        bench.pass_time(HALF_A_MINUTE)
        assert talk.reaches_client(b"hello")

    assert bench.reach(bench.way.server, binding.proxy_address).reaches_client(b"hello")


@pytest.mark.parametrize("seconds", [0.0, 0.9, -1.0])
@over(lambda setup: not setup.is_real)
def test_an_idle_time_that_is_none_is_a_mistake(bench: Bench, seconds: float) -> None:
    with pytest.raises(InvalidArgument):
        bench.bind(idle=seconds)
