"""An office of telephones inside, their providers and the telephones of others outside."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.interop.media_ports import Opening, arrives_late, openings, wait_until_closed
from tests.interop.office import configuration

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import Host
from sallyport.lab.meter import MediaMeter
from sallyport.lab.network import Lab
from sallyport.lab.sip import Kind, SipProvider, Subscriber, Telephone, Transport

ENOUGH = 20
"""Datagrams that a telephone must hear to have heard something: what it sends in 0.4 seconds."""
KINDS: tuple[Kind, ...] = ("plain", "nat")

# All telephones take media at the same ports: those inside must not be told apart by them.
MEDIA = range(10000, 10100)
_SIGNALLING = 5060


@dataclass(frozen=True, slots=True)
class Places:
    """The hosts of a lab with what stands there for all tests."""

    lab: Lab
    providers: dict[Kind, SipProvider]
    meters: dict[Host, MediaMeter]

    @property
    def inside(self) -> tuple[Host, Host]:
        """Where the office has its telephones."""
        return self.lab.clients[0], self.lab.clients[1]

    @property
    def outside(self) -> tuple[Host, Host]:
        """Where others have theirs."""
        return self.lab.servers[2], self.lab.servers[3]


@contextmanager
def places(lab: Lab) -> Iterator[Places]:
    """Run a provider of each kind, and count what comes to the telephones' hosts."""
    with ExitStack() as stack:
        providers: dict[Kind, SipProvider] = {}
        for kind, host in zip(KINDS, lab.servers, strict=False):
            providers[kind] = SipProvider(host, lab.folder / f"provider-{kind}", kind)
            stack.callback(providers[kind].stop)
        hosts = (*lab.clients[:2], *lab.servers[2:4])
        yield Places(lab, providers, {host: MediaMeter(host, MEDIA) for host in hosts})


class Gateways:
    """The gateway that runs, by its data path: one at a time."""

    def __init__(self, there: Places) -> None:
        self._there = there
        self._running: dict[str, RunningGateway] = {}

    def with_path(self, data_path: str) -> RunningGateway:
        """Return the gateway with this data path; another one is stopped."""
        if data_path not in self._running:
            self.stop()
            lab = self._there.lab
            file = lab.folder / f"telephones-{data_path}.toml"
            text = configuration(gateway=f'data_path = "{data_path}"', protocols=("sip",))
            file.write_text(text, encoding="ascii")
            self._running[data_path] = RunningGateway(
                lab, ("--config", str(file)), name=f"telephones-{data_path}"
            )
        return self._running[data_path]

    def stop(self) -> None:
        """Stop the one that runs, if any does."""
        while self._running:
            self._running.popitem()[1].stop()


class Office:
    """Alice and Carol inside, Bob and Dave outside, all with one provider and one IP version."""

    def __init__(
        self,
        there: Places,
        gateway: RunningGateway,
        kind: Kind,
        family: int,
        folder: Path,
        *,
        transport: Transport = "udp",
    ) -> None:
        """Start and register four telephones; `folder` is made for their files."""
        folder.mkdir()
        self.gateway = gateway
        self._there = there
        self._stack = ExitStack()
        self._provider = there.providers[kind].host.address(family)
        self.family = family
        self._transport: Transport = transport
        self._port = next(_ports)
        self.phones: dict[str, Telephone] = {}
        try:
            names = ("alice", "carol", "bob", "dave")
            for name, host in zip(names, there.inside + there.outside, strict=True):
                phone = Telephone(host, folder / name, family, ports=MEDIA, port=self._port)
                self._stack.callback(phone.stop)
                self.phones[name] = phone
                phone.register(self.number(name))
        except BaseException:
            self.close()
            raise

    def number(self, name: str) -> Subscriber:
        """Return how somebody is called; nobody is called so in another office."""
        return Subscriber(f"{name}-{self._port}", self._provider, self._transport)

    def call(self, caller: str, callee: str) -> None:
        """Let one call the other, who answers."""
        self.phones[caller].dial(self.number(callee))
        self.phones[callee].answer()
        self.phones[caller].hears("CALL_ESTABLISHED")

    def hear_each_other(self, one: str, other: str) -> None:
        """Return once both have heard enough."""
        for name in (one, other):
            self._meter(name).wait_for(ENOUGH)

    def openings(self) -> list[Opening]:
        """Return where the gateway lets media in."""
        return openings(self.gateway)

    def wait_until_closed(self) -> None:
        """Return once nothing is open; raises StartupError when something stays."""
        wait_until_closed(self.gateway)

    def arrives_late(self, where: list[Opening], sender: str, hearer: str) -> int:
        """Let one's host send to where media went; return how many datagrams reach the other's."""
        phone = self.phones[sender]
        return arrives_late(where, phone.host, (phone.address, MEDIA[0]), self._meter(hearer))

    def end_calls(self) -> None:
        """End what a test has left, so that the next one begins anew."""
        for phone in self.phones.values():
            phone.end_calls()

    def close(self) -> None:
        """Stop the telephones."""
        self._stack.close()

    def _meter(self, name: str) -> MediaMeter:
        return self._there.meters[self.phones[name].host]


# Each office has ports of its own: what an earlier one has left is none of the next one's.
_ports = iter(range(_SIGNALLING, 65536))
