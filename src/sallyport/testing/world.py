"""VirtualWorld: a clock that a test moves, chance that repeats, a journal to read."""

from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

from sallyport.addresses import PortRange
from sallyport.core.engine.gateway import Gateway
from sallyport.core.model.filter import ApplicationFilter
from sallyport.core.pinholes.datapath import DataPathKind
from sallyport.core.pinholes.ports import Ports
from sallyport.core.policy.hosts import Hosts
from sallyport.core.policy.rules import AccessRule, Action, Network, NetworkRule, Policy, Relation
from sallyport.core.runtime.environment import Level
from sallyport.core.runtime.serial import FAULTS, FilterRunning, Work
from sallyport.testing.memory import MemoryDataPath


class MemoryJournal:
    """Keeps every record as (event, fields)."""

    def __init__(self) -> None:
        self.records: list[tuple[str, dict[str, object]]] = []

    def record(self, event: str, /, *, level: Level = "info", **fields: object) -> None:
        """Implement `core.runtime.environment.Journal.record`."""
        self.records.append((event, {"level": level, **fields}))

    def events(self) -> list[str]:
        """Every event so far, in order."""
        return [event for event, _ in self.records]

    def reasons(self, event: str) -> list[object]:
        """The `reason` of every record of one event."""
        return [fields.get("reason") for name, fields in self.records if name == event]


class VirtualWorld:
    """An environment in which nothing happens by itself."""

    def __init__(self) -> None:
        self.journal = MemoryJournal()
        self.filter_running = FilterRunning()
        self.suspended: list[tuple[Work, Callable[[BaseException | None], None]]] = []
        self.seconds = 0.0
        self.minute = 0
        self.delayed: dict[str, float] = {}
        """For how many seconds each client was let wait, all in all."""
        self._state = 1

    def now(self) -> float:
        """Implement `core.runtime.environment.Environment.now`."""
        return self.seconds

    def minute_of_week(self) -> int:
        """Return the minute of the week; Monday 00:00 until a test changes it."""
        return self.minute

    def delay(self, client: str, seconds: float) -> None:
        """Count it (`Environment.delay`)."""
        self.delayed[client] = self.delayed.get(client, 0.0) + seconds

    def random_below(self, bound: int) -> int:
        """Implement `Environment.random_below` with a fixed sequence (Lehmer's generator)."""
        self._state = self._state * 48271 % 2147483647
        return self._state % bound

    def wake_at(self, when: float) -> None:
        """Do nothing: `pass_time` asks for the next deadline itself (`Environment.wake_at`)."""

    def suspend(
        self,
        work: Work,
        _yielded: Any,  # noqa: ANN401 - whatever the coroutine yields
        done: Callable[[BaseException | None], None],
    ) -> None:
        """Suspend the coroutine until a test calls `resume` (`core.runtime.serial.Suspend`)."""
        self.suspended.append((work, done))

    def resume(self) -> None:
        """Continue the coroutine that has waited longest."""
        work, done = self.suspended.pop(0)
        try:
            self.filter_running.run(lambda: work.send(None))
        except StopIteration:
            done(None)
        except FAULTS as error:  # The runner is the fence for its exceptions.
            done(error)
        else:
            self.suspended.append((work, done))

    def pass_time(self, gateway: Gateway, seconds: float) -> None:
        """Move the clock; every deadline on the way passes at its own time."""
        end = self.seconds + seconds
        while (due := gateway.deadlines.next) is not None and due <= end:
            self.seconds = max(self.seconds, due)
            gateway.deadlines.fire(self.seconds)
        self.seconds = end


GATEWAY_ADDRESSES = ("10.0.0.1", "203.0.113.1", "fd00:a::1", "2001:db8::1")
_OWN = frozenset(map(ip_address, GATEWAY_ADDRESSES))


def make_policy(**rule: Any) -> Policy:  # noqa: ANN401 - any field of AccessRule
    """Build the policy of `sallyport run --internal … --external …`, with rule fields replaced."""
    internal = Network(
        "internal", ("int0",), (ip_network("10.0.0.0/24"), ip_network("fd00:a::/64"))
    )
    fields: dict[str, Any] = {
        "name": "test rule",
        "action": Action.ALLOW,
        "protocols": frozenset({"ftp"}),
        "sources": Hosts.of("internal"),
        "destinations": Hosts.of("external"),
    }
    return Policy(
        networks=(internal, Network("external", ("ext0",))),
        network_rules=(NetworkRule("internal", "external", Relation.NAT, Relation.ROUTE),),
        access_rules=(AccessRule(**(fields | rule)),),
        gateway_addresses=_OWN,
    )


def make_gateway(
    filters: Sequence[ApplicationFilter] = (),
    *,
    policy: Policy | None = None,
    world: VirtualWorld | None = None,
    ports: str = "40000-40999",
    name: str = "",
) -> tuple[Gateway, MemoryDataPath, VirtualWorld]:
    """Build a whole gateway in memory with both data paths; return it with the kernel's double."""
    world = world or VirtualWorld()
    kernel = MemoryDataPath(_OWN)
    user = MemoryDataPath(_OWN, kind=DataPathKind.USER, beside=kernel)
    gateway = Gateway(
        policy=policy or make_policy(),
        data_paths={path.kind: path for path in (kernel, user)},
        ports=Ports(PortRange.parse(ports), world.random_below),
        environment=world,
        filters=filters,
        name=name,
    )
    return gateway, kernel, world
