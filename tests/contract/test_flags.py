"""Every flag alone, and every pair of them: which are legal, and that the legal ones work."""

from itertools import combinations

import pytest
from tests.contract.bench import Bench, Talk, Watcher
from tests.contract.conftest import Build
from tests.contract.places import CONTRACT, PUBLISHED
from tests.contract.setups import NAT, ROUTED, TCP, UDP, over

from sallyport.core.pinholes.datapath import DataPathKind
from sallyport.core.pinholes.lifecycle import State
from sallyport.errors import InvalidArgument
from sallyport.flags import BindFlags, ConnectionFlags, Transport

EACH = [BindFlags.NONE, *BindFlags]
PAIRS = [first | second for first, second in combinations(BindFlags, 2)]


def named(flags: BindFlags) -> str:
    return "+".join(flag.name or "" for flag in flags) or "NONE"


def is_legal(flags: BindFlags, bench: Bench) -> bool:
    """The rules of semantics 1.3 and 1.5, as far as flags go."""
    if BindFlags.TIMEOUT in flags and BindFlags.ALLOW_MULTIPLE in flags:
        return False
    if BindFlags.BIDIRECTIONAL in flags and bench.transport is Transport.TCP:
        return False
    # The bench's primary is an ordinary, outbound one: there is nothing to inherit.
    return BindFlags.PROXY_MODE not in flags


@pytest.mark.parametrize("flags", EACH, ids=named)
def test_each_flag_alone_binds_or_is_refused_as_the_rules_say(
    bench: Bench, flags: BindFlags
) -> None:
    hold_to_the_rules(bench, flags)


def test_each_pair_of_flags_binds_or_is_refused_as_the_rules_say(bench: Bench) -> None:
    for flags in PAIRS:
        hold_to_the_rules(bench, flags)


def hold_to_the_rules(bench: Bench, flags: BindFlags) -> None:
    """Bind with these flags: a legal call works, an illegal one leaves nothing."""
    client, before = bench.client(), bench.holdings()
    if not is_legal(flags, bench):
        with pytest.raises(InvalidArgument):
            bench.bind(client, flags=flags)
        assert bench.holdings() == before, named(flags)
        return
    bench.serve(client)
    binding = bench.bind(client, flags=flags)
    talk = bench.reach(bench.way.server, binding.proxy_address)

    assert binding.flags == flags
    assert talk.reaches_client(b"hello"), named(flags)
    binding.kill()
    assert binding.state is State.CLOSED, named(flags)


# -- which data path ------------------------------------------------------------------------------


def test_without_a_reason_the_first_data_path_carries_it(bench: Bench) -> None:
    (connection,) = bench.bind().connections

    assert connection.data_path is bench.kinds[0]


def test_no_kernel_mode_means_user_mode_and_the_bytes_still_arrive(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client, flags=BindFlags.NO_KERNEL_MODE)

    assert binding.connections[0].data_path is DataPathKind.USER
    assert bench.reach(bench.way.server, binding.proxy_address).reaches_client(b"hello")


def test_a_filter_that_watches_secondaries_takes_them_out_of_the_kernel(build: Build) -> None:
    bench = build(Watcher())

    assert bench.bind().connections[0].data_path is DataPathKind.USER


# -- full proxy -----------------------------------------------------------------------------------


@NAT
@pytest.mark.parametrize(
    "beside", [flag for flag in EACH if flag is not BindFlags.BIDIRECTIONAL], ids=named
)
def test_full_proxy_is_inherited_and_shows_the_gateway_to_the_client(
    build: Build, beside: BindFlags
) -> None:
    hold_to_full_proxy(build(full_proxy=True), beside | BindFlags.PROXY_MODE)


@over(lambda setup: setup.is_nat and not setup.is_tcp)
def test_full_proxy_goes_with_bidirectional(build: Build) -> None:
    bench = build(full_proxy=True)

    talk = hold_to_full_proxy(bench, BindFlags.BIDIRECTIONAL | BindFlags.PROXY_MODE)
    assert talk.reaches_peer(b"answer")


def hold_to_full_proxy(bench: Bench, flags: BindFlags) -> Talk:
    """Bind for the published server: to it, whoever comes is the gateway."""
    client, primary = bench.client(), bench.publish()
    bench.serve(client)
    binding = bench.bind(client, primary=primary, protocol=PUBLISHED[bench.transport], flags=flags)
    talk = bench.reach(bench.way.stranger, binding.proxy_address)

    assert primary.flags is ConnectionFlags.INTERNAL_ADDRESS_TRANSLATION
    assert binding.connections[0].flags is ConnectionFlags.INTERNAL_ADDRESS_TRANSLATION
    assert talk.seen.address == bench.way.inside
    assert talk.reaches_client(b"hello")
    return talk


@NAT
def test_full_proxy_is_never_invented(bench: Bench) -> None:
    published = bench.publish()
    calls = [(published, PUBLISHED[bench.transport]), (bench.primary, CONTRACT), (None, CONTRACT)]

    assert published.flags is ConnectionFlags.NONE
    for primary, protocol in calls:
        with pytest.raises(InvalidArgument):
            bench.bind(
                primary=primary,
                protocol=protocol,
                proxy_address=bench.at_outside(),
                flags=BindFlags.PROXY_MODE,
            )


@ROUTED
def test_full_proxy_has_no_meaning_where_nothing_is_translated(build: Build) -> None:
    bench = build(full_proxy=True)
    primary = bench.publish()

    assert primary.flags is ConnectionFlags.NONE
    with pytest.raises(InvalidArgument):
        bench.bind(primary=primary, protocol=PUBLISHED[bench.transport], flags=BindFlags.PROXY_MODE)


@pytest.mark.parametrize("flags", [BindFlags.NONE, BindFlags.NO_KERNEL_MODE], ids=named)
def test_without_full_proxy_the_client_sees_the_peer_where_the_host_can_show_it(
    bench: Bench, flags: BindFlags
) -> None:
    client = bench.client()
    bench.serve(client)
    talk = bench.reach(bench.way.server, bench.bind(client, flags=flags).proxy_address)

    assert (talk.seen == talk.peer) is bench.keeps_peer_address
    assert talk.reaches_client(b"hello")


# -- what else a flag asks for --------------------------------------------------------------------


@UDP
def test_bidirectional_lets_the_client_answer_and_without_it_the_answer_is_dropped(
    bench: Bench,
) -> None:
    for flags, is_answered in ((BindFlags.BIDIRECTIONAL, True), (BindFlags.NONE, False)):
        client = bench.client()
        bench.serve(client)
        binding = bench.bind(client, flags=flags)
        talk = bench.reach(bench.way.server, binding.proxy_address)

        if is_answered:
            assert talk.reaches_peer(b"answer")
        else:
            assert talk.is_cut_towards_peer(b"answer")


@UDP
def test_bidirectional_answers_reach_the_peer_at_its_true_port_in_user_mode_too(
    bench: Bench,
) -> None:
    client = bench.client()
    bench.serve(client)
    flags = BindFlags.BIDIRECTIONAL | BindFlags.NO_KERNEL_MODE
    talk = bench.reach(bench.way.server, bench.bind(client, flags=flags).proxy_address)

    assert (talk.seen == talk.peer) is bench.keeps_peer_address
    assert talk.reaches_peer(b"answer")
    assert talk.reaches_client(b"and again")
    assert talk.reaches_peer(b"another answer")


@UDP
def test_bidirectional_answers_go_to_the_sender_they_are_meant_for(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    flags = BindFlags.BIDIRECTIONAL | BindFlags.ALLOW_MULTIPLE
    binding = bench.bind(client, flags=flags)
    talks = [
        bench.reach(who, binding.proxy_address) for who in (bench.way.server, bench.way.stranger)
    ]

    for number, talk in enumerate(talks):
        assert talk.reaches_peer(b"answer %d" % number)


def test_an_increased_receive_buffer_is_of_the_data_path_that_reads(
    bench: Bench,
) -> None:
    flags = BindFlags.INCREASE_RECEIVE_BUFFER | BindFlags.NO_KERNEL_MODE
    (large,) = bench.bind(flags=flags).connections
    (plain,) = bench.bind().connections

    assert (large.pinhole.receive_buffer, plain.pinhole.receive_buffer) == (1 << 20, None)


@TCP
@pytest.mark.parametrize("backlog", [0, -1, 4097])
def test_a_backlog_that_no_listener_can_have_is_refused(bench: Bench, backlog: int) -> None:
    with pytest.raises(InvalidArgument):
        bench.bind(backlog=backlog)


@TCP
@pytest.mark.parametrize("backlog", [1, 4096])
def test_a_backlog_within_reason_is_the_listeners(bench: Bench, backlog: int) -> None:
    (connection,) = bench.bind(backlog=backlog).connections

    assert connection.pinhole.backlog == backlog
