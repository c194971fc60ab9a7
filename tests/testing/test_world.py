from collections import Counter
from functools import partial
from ipaddress import ip_address

import pytest

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import DataPathKind
from sallyport.core.policy.rules import Relation
from sallyport.core.runtime.serial import SerialRunner
from sallyport.errors import AddressInUse
from sallyport.filters.ftp import FTP
from sallyport.flags import Transport
from sallyport.testing import MemoryJournal, VirtualWorld, make_gateway, make_policy, pause


def test_the_journal_keeps_events_in_order_with_their_fields() -> None:
    journal = MemoryJournal()
    journal.record("a.happened", reason="one")
    journal.record("b.happened", level="warning")
    journal.record("a.happened", reason="two")

    assert journal.events() == ["a.happened", "b.happened", "a.happened"]
    assert journal.reasons("a.happened") == ["one", "two"]
    assert journal.records[1] == ("b.happened", {"level": "warning"})


def test_chance_repeats_and_stays_within_its_bound() -> None:
    first, second = VirtualWorld(), VirtualWorld()
    drawn = [first.random_below(10) for _ in range(1000)]

    assert drawn == [second.random_below(10) for _ in range(1000)]
    assert set(Counter(drawn)) == set(range(10))


def test_time_passes_from_deadline_to_deadline() -> None:
    gateway, _, world = make_gateway()
    seen: list[float] = []
    gateway.call_later(5, lambda: seen.append(world.now()))

    def later() -> None:
        gateway.call_later(2, lambda: seen.append(world.now()))

    gateway.call_later(2, later)

    world.pass_time(gateway, 4.5)
    assert seen == [4]
    world.pass_time(gateway, 10)

    assert seen == [4, 5]
    assert world.now() == 14.5


def test_who_waits_goes_on_when_resumed_the_longest_waiting_first() -> None:
    world, faults = VirtualWorld(), list[tuple[str, str]]()
    done: list[str] = []

    async def work(name: str, *, fails: bool = False) -> None:
        await pause()
        await pause()
        if fails:
            raise ValueError(name)
        done.append(name)

    def fault(error: BaseException, owner: str) -> None:
        faults.append((str(error), owner))

    for name in ("a", "b"):
        SerialRunner(world.suspend, world.filter_running, fault).run(
            partial(work, name, fails=name == "b"), owner=name
        )
    for _ in range(2):
        world.resume()
    assert done == []
    for _ in range(2):
        world.resume()

    assert done == ["a"]
    assert faults == [("b", "b")]
    assert world.suspended == []


def test_the_policy_is_the_one_of_run_with_two_interfaces() -> None:
    policy = make_policy(max_bindings_per_client=3)
    verdict = policy.decide("ftp", ip_address("10.0.0.8"), ip_address("203.0.113.9"))

    assert verdict.allowed
    assert verdict.relation is Relation.NAT
    assert verdict.rule is not None
    assert verdict.rule.max_bindings_per_client == 3
    routed = policy.relation(ip_address("fd00:a::8"), ip_address("2001:db8::9"))
    assert routed is Relation.ROUTE


def test_a_rule_field_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(TypeError):
        make_policy(max_bindings=3)


def test_the_gateway_is_whole() -> None:
    gateway, data_path, world = make_gateway(ports="40000-40001")
    client, server = Endpoint.parse("10.0.0.8:50000"), Endpoint.parse("203.0.113.9:21")

    gateway.admit_primary(FTP, client, server).kill("test")

    assert world.journal.reasons("connect.closed") == ["test"]
    assert data_path.pinholes == {}
    assert len(gateway.port_range) == 2


def test_the_gateway_has_both_data_paths_on_one_host() -> None:
    gateway, kernel, _ = make_gateway()
    user = gateway.data_paths[DataPathKind.USER]
    port = Endpoint.parse("203.0.113.1:40000")

    assert gateway.data_paths[DataPathKind.KERNEL] is kernel
    assert user.kind is DataPathKind.USER
    user.reserve(Transport.TCP, port)
    with pytest.raises(AddressInUse):
        kernel.reserve(Transport.TCP, port)
