"""The answer of `explain`: on a running gateway, or on what a configuration would be."""

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from sallyport.addresses import Endpoint, parse_address
from sallyport.core.engine.explainer import Explanation, Question
from sallyport.core.engine.gateway import Gateway
from sallyport.core.pinholes.ports import Ports
from sallyport.core.policy.protocols import Direction, ProtocolDefinition
from sallyport.core.policy.rules import Asker, PublishingRule, Relation, Verdict
from sallyport.core.policy.schedules import read_minute
from sallyport.core.policy.terms import Frontend
from sallyport.core.policy.trail import Trail
from sallyport.core.runtime.environment import Level
from sallyport.core.runtime.serial import FilterRunning, Suspend
from sallyport.errors import NotFound, OperatorError
from sallyport.flags import Transport
from sallyport.frontends.rights import (
    KNOWING_USERS,
    RIGHTS,
    SOCKS_BIND,
    SOCKS_CONNECT,
    SOCKS_UDP,
    usual_way,
)
from sallyport.frontends.socks.destinations import fault, plain
from sallyport.ops.config.document import nearest
from sallyport.ops.config.load import Configuration
from sallyport.ops.config.publishing import settled
from sallyport.ops.control.schema import Explained, StepRow, worker_in
from sallyport.ops.interfaces import lasting_addresses, local_addresses
from sallyport.ops.world import minute_now
from sallyport.reasons import REASONS


class BadQuestion(OperatorError):
    """What is asked about is no client, server, port or time; the message says what to write."""

    code = "bad-question"


def explain(
    gateway: Gateway, configuration: Configuration, arguments: Mapping[str, object]
) -> Explained:
    """Answer `explain`; raises BadQuestion, NotFound for an unknown protocol."""
    texts = {key: str(value) for key, value in arguments.items() if value is not None}
    try:
        question = _question(configuration, texts)
    except ValueError as error:
        raise BadQuestion(str(error)) from None
    answer = _document(gateway, configuration, question, _explained(gateway, question))
    if "user" in texts and question.asker.user is None:
        way = question.asker.frontend.value
        remark = f"a client that asks by {way!r} has no user: {texts['user']!r} decides nothing"
        answer = msgspec.structs.replace(answer, remarks=[remark, *answer.remarks])
    return answer


def imagine(configuration: Configuration) -> Gateway:
    """Return a gateway that a configuration would make here: it decides, and opens nothing."""
    policy = configuration.policy
    rules = settled(policy.publishing_rules, lasting_addresses())
    listens = {rule.listen.address for rule in rules}
    own = frozenset(local_addresses() | policy.sources | listens)
    servers = {rule.server.address for rule in policy.publishing_rules}
    running = [one.running for one in configuration.filters]
    return Gateway(
        policy=replace(policy, publishing_rules=rules, gateway_addresses=own - servers),
        data_paths={},
        ports=Ports(configuration.gateway.port_range, lambda _bound: 0),
        environment=_Stillness(),
        filters=[one for one in running if one is not None],
    )


class _Stillness:
    """The environment of a gateway in which nothing happens."""

    def __init__(self) -> None:
        self.journal = self
        self.filter_running = FilterRunning()
        self.suspend: Suspend = lambda _work, _yielded, _done: None
        self.minute_of_week = minute_now

    def record(self, event: str, /, *, level: Level = "info", **fields: object) -> None:
        """Forget a record."""

    def now(self) -> float:
        """Return a time that does not pass."""
        return 0.0

    def delay(self, client: str, seconds: float) -> None:
        """Let no client wait."""

    def random_below(self, bound: int) -> int:
        """Return a number below `bound`; nothing is drawn here."""
        return bound - 1

    def wake_at(self, when: float) -> None:
        """Set no timer."""


def _explained(gateway: Gateway, question: Question) -> Explanation:
    """Return what would be decided, by the front end or by the rules."""
    is_by_socks = question.asker.frontend is Frontend.SOCKS
    if is_by_socks and (reason := fault(gateway.policy, question.server.address)):
        trail = Trail()
        trail.refused("peer", reason)
        return Explanation(Verdict(allowed=False, reason=reason), None, tuple(trail.steps))
    return gateway.explain(question)


def _question(configuration: Configuration, texts: Mapping[str, str]) -> Question:
    """Read a question; addresses as the kernel would hand them to us."""
    client = plain(parse_address(texts["client"]))
    protocol = _protocol(configuration, texts["protocol"], texts["server"])
    server = _server(texts["server"], protocol)
    user = texts.get("user")
    way = Frontend(texts.get("frontend", usual_way(protocol.name, is_user=user is not None)))
    peer = plain(parse_address(texts["peer"])) if "peer" in texts else None
    if peer is not None and peer.version != client.version:
        raise BadQuestion(f"{peer} is of another family than {client}: name a peer of the same")
    if way is Frontend.SOCKS:
        protocol = _spoken_by_socks(configuration, protocol, server.port)
    return Question(
        client=client,
        server=server,
        protocol=protocol,
        asker=Asker(user if way in KNOWING_USERS else None, way),
        bind_port=Endpoint.parse(f"0.0.0.0:{texts['bind']}").port if "bind" in texts else None,
        peer=peer,
        minute=read_minute(texts["at"]) if "at" in texts else None,
    )


def _server(text: str, protocol: ProtocolDefinition) -> Endpoint:
    try:
        return Endpoint(plain(parse_address(text)), protocol.dialled_port)
    except ValueError:
        server = Endpoint.parse(text)
        return Endpoint(plain(server.address), server.port)


def _spoken_by_socks(
    configuration: Configuration, asked: ProtocolDefinition, port: int
) -> ProtocolDefinition:
    """Return what a connection by SOCKS would be: what filters speak at its port comes first."""
    if asked in (SOCKS_BIND, SOCKS_UDP) or asked.transport is not Transport.TCP:
        return asked
    spoken = (
        one
        for one in configuration.supervised
        if one.transport is Transport.TCP and one.dialled_port == port
    )
    return next(spoken, SOCKS_CONNECT)


def _protocol(configuration: Configuration, name: str, server: str) -> ProtocolDefinition:
    """Return the definition that a connection to `server` would have."""
    if name in RIGHTS:
        return RIGHTS[name]
    running = [one.kind.protocols for one in configuration.filters]
    known = [*configuration.supervised, *(one for protocols in running for one in protocols)]
    fitting = [one for one in known if one.name == name]
    if not fitting:
        names = sorted({*RIGHTS, *(one.name for one in known)})
        raise NotFound(f"no protocol {name!r} here; {nearest(name, names)}")
    at_port = [one for one in fitting if server.endswith(f":{one.dialled_port}")]
    return (at_port or fitting)[0]


def _document(
    gateway: Gateway,
    configuration: Configuration,
    question: Question,
    explanation: Explanation,
) -> Explained:
    verdict = explanation.verdict
    reason = REASONS[verdict.reason]
    found = {step.question: step.answer for step in explanation.steps}
    rule, key = verdict.rule, None if verdict.allowed else reason.key
    if key is not None and isinstance(explanation.published, PublishingRule):
        key = key.replace("access_rules.", "publishing_rules.")
    nearest_rule = next(
        (step.rule for step in explanation.steps if step.outcome.value == "refused"), None
    )
    return Explained(
        allowed=verdict.allowed,
        reason=verdict.reason,
        meaning=f"{reason.happened} {reason.means}",
        remedy=reason.remedy,
        key=key,
        rule=nearest_rule if rule is None else rule.name,
        relation=None if verdict.relation is None else verdict.relation.value,
        client_network=found.get("client-network"),
        peer_network=found.get("peer-network"),
        interception=_interception(gateway, configuration, question, explanation.published),
        worker=worker_in(gateway.name),
        would_open=_opening(gateway, question, explanation) if verdict.allowed else None,
        remarks=[
            *_remarks(gateway, question.protocol, verdict),
            *_latest_unused(gateway, question, explanation.published),
        ],
        steps=[
            StepRow(
                question=step.question,
                outcome=step.outcome.value,
                answer=step.answer,
                rule=step.rule,
                value=step.value,
                used=step.used,
            )
            for step in explanation.steps
        ],
    )


def _remarks(gateway: Gateway, protocol: ProtocolDefinition, verdict: Verdict) -> list[str]:
    """Return what the filters of the protocol make of a rule that allows."""
    rule = verdict.rule
    if rule is None or not verdict.allowed:
        return []
    is_translated = verdict.relation is Relation.NAT
    name, direction = protocol.name, Direction.OUTBOUND
    if isinstance(rule, PublishingRule):
        name, direction = rule.protocol, Direction.INBOUND
    return [
        remark
        for one in gateway.roster.current.filters
        if any(name == spoken.name for spoken in one.protocols)
        for remark in one.remarks(rule, direction, is_translated=is_translated)
    ]


def _latest_unused(
    gateway: Gateway, question: Question, published: PublishingRule | None
) -> list[str]:
    """Say what became of the last pinhole of this client that no peer used, if there is one."""
    host = question.client if published is None else published.server.address
    unused = gateway.unused.get(host)
    if unused is None:
        return []
    reason = REASONS[unused.missed]
    since = round(gateway.clock() - unused.ended_at)
    return [
        f"the last port opened for {host} that no peer used, {unused.listen}, closed {since} s ago:"
        f" {unused.missed}: {reason.happened} {reason.remedy}"
    ]


def _interception(
    gateway: Gateway,
    configuration: Configuration,
    question: Question,
    published: PublishingRule | None,
) -> str:
    """Say how the connection would reach the gateway, or that it would not."""
    if published is not None:
        return f"published at {published.listen} by the rule {published.name!r}"
    port, way = question.server.port, question.asker.frontend
    if way is not Frontend.TRANSPARENT:
        is_on = getattr(configuration, way.value, None) is not None
        spoken = f", as {question.protocol.name!r}" if way is Frontend.SOCKS else ""
        return f"asked for by [frontends.{way}]{spoken}" + (
            "" if is_on else ", which is not written"
        )
    policy, transport = gateway.policy, question.protocol.transport
    place = policy.publishes(question.server, transport)
    if place is not None and policy.is_own(place.listen.address):
        # Whether its port is intercepted too or not, it is ours, and we refuse.
        return (
            f"arrives at {place.listen}, where the rule {place.name!r} publishes a server to"
            " clients outside alone"
        )
    network = configuration.policy.network_of(question.client)
    if network is not None and configuration.policy.is_outside(network):
        return f"none: {question.client} is outside, and only clients inside are intercepted"
    for one in configuration.supervised:
        if one.name == question.protocol.name and one.dialled_port == port:
            return f"intercepted at {one.transport.name.lower()} port {port}"
    return (
        f"none: {transport.name.lower()} port {port} is not intercepted for"
        f" {question.protocol.name!r}, and the connection passes as ordinary traffic"
    )


def _opening(gateway: Gateway, question: Question, explanation: Explanation) -> str | None:
    """Say what the bind would open."""
    if question.bind_port is None:
        return None
    rule, published = explanation.verdict.rule, explanation.published
    host = question.client if published is None else published.server.address
    peer = question.peer or (question.server.address if published is None else question.client)
    inside = Endpoint(host, question.bind_port)
    if explanation.verdict.relation is Relation.ROUTE:
        where = f"at {inside} itself"
    else:
        where = f"at a port of {gateway.port_range} of the gateway, to {inside}"
    lasts = "" if rule is None or rule.max_lifetime is None else f", for {rule.max_lifetime} s"
    if rule is not None and rule.max_idle is not None:
        lasts += f", until it is silent for {rule.max_idle} s"
    transport = question.protocol.transport.name.lower()
    return f"{transport} from {peer} {where}{lasts}"
