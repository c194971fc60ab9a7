"""Stage: a watched gateway with one filter, and the plays that run on it."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.model.chain import Chain
from sallyport.core.model.filter import ApplicationFilter, DataFilter, SessionFilter
from sallyport.core.pinholes.datapath import DataPathKind, Pinhole
from sallyport.core.policy.rules import Policy
from sallyport.flags import Transport
from sallyport.testing.conversation import (
    Closes,
    Conversation,
    PeerConnects,
    PeerFinishes,
    Says,
    Script,
    Side,
    Step,
)
from sallyport.testing.dialogue import Dialogue
from sallyport.testing.faulty import FaultyBinder, WatchedRoster
from sallyport.testing.flows import MemoryEnd, MemoryFlow
from sallyport.testing.memory import MemoryDataPath
from sallyport.testing.world import make_gateway

Make = Callable[[], ApplicationFilter]

# A filter waits for one kernel transaction at a time: one for each command of a full segment.
# A filter that waits more often than commands are in flight waits for nothing.
MAX_WAITS = 4 * limits.MAX_FTP_PIPELINE

# The port that peers connect from: 20 is what RFC 959 asks for, and as good as any other.
_PEER_PORT = 20

# Longer than every time limit, ours and a filter's own, even two of them in a row.
LONG = 2.5 * limits.CONTROL_IDLE_SECONDS


@dataclass(frozen=True)
class Case:
    """One check: a filter, one conversation, one IP version."""

    make: Make
    conversation: Conversation
    version: int
    policy: Policy
    others: tuple[Make, ...] = ()
    """Functions that make more filters of the same gateway."""

    def filters(self) -> list[ApplicationFilter]:
        """Make every filter; the checked one comes first."""
        return [make() for make in (self.make, *self.others)]


@dataclass(frozen=True)
class PlayOutcome:
    """Everything that an observer outside the gateway could see."""

    client_heard: bytes
    server_heard: bytes
    protected_heard: bytes
    """The bytes that passed through transfers with data filters, joined."""
    peer_heard: bytes
    datagrams: tuple[int, ...]
    """The sizes of what was sent to each transfer, for datagrams."""
    sent: tuple[str, ...]
    """Datagrams from bound ports."""
    binds: tuple[str, ...]
    pinholes: tuple[str, ...]
    """The pinholes that are still open."""
    end: str

    def difference(self, other: "PlayOutcome") -> str | None:
        """Return where `other` differs; None when it does not."""
        for field in fields(self):
            one, another = getattr(self, field.name), getattr(other, field.name)
            if one != another:
                return f"{field.name.replace('_', ' ')}: {one!r}, not {another!r}"
        return None

    def news_since(self, before: "PlayOutcome") -> dict[Side, bytes]:
        """Return what each side has received since `before`."""
        return {
            Side.CLIENT: self.client_heard[len(before.client_heard) :],
            Side.SERVER: self.server_heard[len(before.server_heard) :],
            Side.PROTECTED: self.protected_heard[len(before.protected_heard) :],
            Side.PEER: self.peer_heard[len(before.peer_heard) :],
        }


class Stage:
    """A new gateway with a new filter in it."""

    def __init__(self, case: Case) -> None:
        self.case = case
        filters = case.filters()
        self.leading = next(one for one in filters if one.protocols)
        """The filter whose protocol the conversation speaks."""
        self.is_udp = self.leading.protocols[0].transport is Transport.UDP
        policy = case.policy
        if published := case.conversation.published:
            policy = replace(policy, publishing_rules=(published,))
        self.within = make_gateway(filters, policy=policy)
        self.gateway, kernel, self.world = self.within
        user = self.gateway.data_paths[DataPathKind.USER]
        assert isinstance(user, MemoryDataPath)
        self.paths = kernel, user
        self.binder = FaultyBinder(self.gateway)
        self.gateway.bind, self.gateway.allow = self.binder.bind, self.binder.allow
        self.roster = self.gateway.roster = WatchedRoster(self.gateway.roster)
        self.gateway.detach = self.roster.detach
        self.hangs = False
        self.has_stuck = False

    def settle(self) -> None:
        """Answer all requests that filters wait for."""
        for _ in range(MAX_WAITS):
            if not self.world.suspended:
                return
            self.world.resume()
        self.hangs = True
        self.world.pass_time(self.gateway, limits.FILTER_WAIT_SECONDS)
        self.world.suspended.clear()

    def finish_flows(self) -> None:
        """Close the flow of every connected peer in order, through the filters."""
        for path in self.paths:
            for flow in tuple(path.filtered.values()):
                if flow.pinhole.transport is Transport.TCP:
                    flow.peer_closes()
                    flow.target_closes()
                    self.settle()
                    self.has_stuck |= not flow.is_over
            for peer in [peer for flows in path.flows.values() for peer in flows]:
                path.finish(peer)

    def fault(self) -> str | None:
        """Return what a filter did that no filter may do; None when it did no such thing."""
        if self.hangs:
            return "it waits for something that never comes"
        if self.has_stuck:
            return "both ends of a transfer have closed, and it goes on"
        for event, record in self.world.journal.records:
            if event == "filter.failed":
                return f"it raised {record['error']}"
        return None

    def open_pinholes(self) -> tuple[str, ...]:
        """Return the open pinholes in the order in which they were opened."""
        return tuple(
            f"{hole.listen} -> {hole.target} from {hole.sources}"
            for path in self.paths
            for hole in path.pinholes.values()
        )

    def leftovers(self) -> str | None:
        """Return what is left after every host has gone; running transfers may finish first."""
        if found := self.open_pinholes():
            return f"still open: {', '.join(found)}"
        self.finish_flows()
        self.settle()
        if left := [str(session.client_address) for session in self.gateway.sessions]:
            return f"sessions are left: {', '.join(left)}"
        if len(self.gateway.registry) or any(path.reserved for path in self.paths):
            return "ports are left reserved"
        return None


class Play:
    """One run of a conversation; several may be under way on one stage."""

    def __init__(self, stage: Stage, *, client: str | None = None) -> None:
        self.stage = stage
        case = stage.case
        self.was_made = len(stage.binder.made)
        self.dialogue = Dialogue(
            stage.leading,
            version=case.version,
            client=client,
            within=stage.within,
            published=case.conversation.published,
        )
        self.connection = self.dialogue.connection
        self.attached: dict[int, DataFilter | SessionFilter] = {}
        """Every filter object that was seen at work."""
        self._flows: dict[MemoryFlow, None] = {}
        """Every flow with data filters, in the order in which they began."""
        self._look()
        self._settle()

    def run(self, script: Script) -> "Play":
        """Do every step."""
        for step in script:
            self.do(step)
        return self

    def do(self, step: Step, *, settles: bool = True) -> None:
        """Do one step, as far as its hosts are still connected."""
        match step:
            case Says():
                self._say(step)
            case Closes(Side.CLIENT) if self.connection.is_open:
                self.dialogue.client_closes()
            case Closes(Side.SERVER) if self.connection.is_open:
                self.dialogue.server_closes()
            case PeerConnects():
                self._connect()
            case PeerFinishes():
                self.stage.finish_flows()
        self._look()
        if settles:
            self._settle()

    def outcome(self) -> PlayOutcome:
        """Return what was observed so far."""
        dialogue, stage = self.dialogue, self.stage
        reasons = [
            record["reason"]
            for event, record in stage.world.journal.records
            if event == "connect.closed" and record["connection"] == self.connection.id
        ]
        shut = [end.is_shut for end in (dialogue.client_end, dialogue.server_end)]
        near, far = self._transfer_ends()
        control = [dialogue.client_end, dialogue.server_end] if stage.is_udp else []
        carried = [
            end
            for flow in self._flows
            for end in (flow.accepted, flow.dialled)
            if flow.pinhole.transport is Transport.UDP
        ]
        return PlayOutcome(
            client_heard=bytes(dialogue.client_end.heard),
            server_heard=bytes(dialogue.server_end.heard),
            protected_heard=b"".join(bytes(end.heard) for end in near),
            peer_heard=b"".join(bytes(end.heard) for end in far),
            datagrams=tuple(len(data) for end in (*control, *carried) for data in end.datagrams),
            sent=tuple(map(str, dialogue.data_path.sent)),
            binds=tuple(stage.binder.made[self.was_made :]),
            pinholes=stage.open_pinholes(),
            end=f"{dialogue.link.ended or 'open'} {reasons} {shut}",
        )

    def ends(self) -> list[MemoryEnd]:
        """Return the ends of every flow that had filters."""
        transfers = [end for flow in self._flows for end in (flow.accepted, flow.dialled)]
        return [self.dialogue.client_end, self.dialogue.server_end, *transfers]

    def flows(self) -> list[MemoryFlow]:
        """Return the running flows that have data filters."""
        return [flow for flow in self._flows if not flow.is_over]

    def wrongly_detached(self) -> str | None:
        """Return which filter was detached not at all, or twice; None when each was once."""
        for one in self.attached.values():
            times = sum(other is one for other in self.stage.roster.detached)
            if times != 1:
                return f"{type(one).__name__} was detached {times} times"
        return None

    # -- inside -------------------------------------------------------------------------------

    def _settle(self) -> None:
        if self.stage.world.suspended:
            self.stage.settle()
            self._look()

    def _look(self) -> None:
        """Record which filters are attached."""
        for path in self.stage.paths:
            self._flows.update(dict.fromkeys(path.filtered.values()))
        for chain in (self.connection.chain, *(flow.tap for flow in self._flows)):
            if isinstance(chain, Chain):
                self.attached.update({id(one): one for one in chain.data_filters})
        self.attached.update({id(one): one for one in self.connection.session.filters.values()})

    def _say(self, step: Says) -> None:
        if not step.side.is_of_control:
            self._carry(step)
        elif self.connection.is_open and self.connection.chain.is_begun:
            is_client = step.side is Side.CLIENT
            say = self.dialogue.client_says if is_client else self.dialogue.server_says
            if not self.dialogue.has_closed(step.side):
                say(step.data)

    def _carry(self, step: Says) -> None:
        """Send the bytes through the latest transfer with data filters; others drop them here."""
        if running := self.flows():
            flow = running[-1]
            has_come = (step.side is Side.PEER) is self._is_inward(flow)
            (flow.peer_says if has_come else flow.target_says)(step.data)

    def _is_inward(self, flow: MemoryFlow) -> bool:
        return flow.peer.address != self.connection.session.client_address

    def _transfer_ends(self) -> tuple[list[MemoryEnd], list[MemoryEnd]]:
        """Return the near and the far ends of all transfers."""
        ends = [
            (flow.dialled, flow.accepted)
            if self._is_inward(flow)
            else (flow.accepted, flow.dialled)
            for flow in self._flows
        ]
        return [near for near, _ in ends], [far for _, far in ends]

    def _connect(self) -> None:
        for path in self.stage.paths:
            for hole in reversed(path.pinholes.values()):
                for peer in self._peers(hole):
                    is_tcp = hole.transport is Transport.TCP
                    if (path.connect if is_tcp else path.send)(peer, hole.listen):
                        return

    def _peers(self, hole: Pinhole) -> list[Endpoint]:
        """Return the hosts that may connect: the far end or, for a permission, the client."""
        far, near = self.connection.peer.address, self.connection.session.client_address
        ports = [*(hole.source_ports or ()), _PEER_PORT]
        return [Endpoint(address, port) for address in (far, near) for port in ports]
