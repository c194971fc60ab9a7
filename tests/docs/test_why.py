"""docs/how-to/why.md: from the log line alone, and from `explain` alone, the key is found."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.core.office import run

from sallyport.addresses import Endpoint, parse_address
from sallyport.core.engine.gateway import Gateway
from sallyport.core.engine.ledger import Unused
from sallyport.core.pinholes.datapath import Missed
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.errors import BindError
from sallyport.flags import Transport
from sallyport.ipfilter import IpFilter
from sallyport.ops.config.load import Configuration, parse
from sallyport.ops.control.explain import explain
from sallyport.reasons import REASONS
from sallyport.testing.world import VirtualWorld, make_gateway, make_policy

PAGE = Path(__file__).parents[2] / "docs/how-to/why.md"
TEXT = PAGE.read_text(encoding="utf-8")
CONFIGURATION = TEXT.partition("```toml\n")[2].partition("```")[0]
SECTIONS = re.findall(r"^## \d+\. .*\n(?:(?!^## ).*\n?)*", TEXT, re.MULTILINE)


@dataclass(frozen=True)
class Case:
    """One section of the page."""

    title: str
    arguments: Mapping[str, str]
    held: int
    """How many connections of the client, each with a bind, are granted before."""
    log: Mapping[str, str]
    key: str


def cases() -> list[Case]:
    found = []
    for section in SECTIONS:
        command = re.search(r"^sallyport explain (.*)$", section, re.MULTILINE)
        log = re.search(r"^\S+ warning (\S+\.refused) (.*)$", section, re.MULTILINE)
        key = re.search(r"^Key: `(\S+)`", section, re.MULTILINE)
        held = re.search(r"(?:holds|has begun) (\d+)", section)
        assert command, section
        assert log, section
        assert key, section
        client, server, protocol, *options = re.findall(r'"[^"]*"|\S+', command[1])
        arguments = {"client": client, "server": server, "protocol": protocol}
        for name, value in zip(options[::2], options[1::2], strict=True):
            arguments[name.removeprefix("--")] = value.strip('"')
        fields = dict(re.findall(r'(\w+)=("[^"]*"|\S+)', log[2]))
        fields = {name: value.strip('"') for name, value in fields.items()}
        title = section.partition("\n")[0]
        count = int(held[1]) if held else 0
        cases_log = {"event": log[1], **fields}
        found.append(Case(title, arguments, count, cases_log, key[1]))
    return found


def gateway_of(configuration: Configuration, world: VirtualWorld) -> Gateway:
    own = make_policy().gateway_addresses
    filters = [one.running for one in configuration.filters if one.running is not None]
    policy = replace(configuration.policy, gateway_addresses=own)
    return make_gateway(filters, policy=policy, world=world)[0]


def ask(gateway: Gateway, protocol: ProtocolDefinition, case: Case, port: int) -> None:
    """Do what the case is about, as a client would."""
    client = Endpoint.parse(f"{case.arguments['client']}:50000")
    server = Endpoint.parse(f"{case.arguments['server']}:{protocol.port}")
    rule = gateway.policy.published_at(client.address, server, protocol.transport)
    try:
        if rule is None:
            primary = gateway.admit_primary(protocol, client, server)
        else:
            primary = gateway.admit_published(rule, client)
        primary.gateway_address = Endpoint.parse("203.0.113.1:50000")
        run(
            primary.session.bind_for_client(
                [Endpoint(client.address, port)],
                transport=Transport.TCP,
                protocol=protocol,
                ip_filter=IpFilter.of(server.address),
                primary=primary,
            )
        )
    except BindError:
        return


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.title)
def test_the_log_line_and_explain_lead_to_the_same_key(case: Case) -> None:
    world = VirtualWorld()
    configuration = parse(CONFIGURATION, "why.toml")
    gateway = gateway_of(configuration, world)
    world.minute = 12 * 60
    name = case.arguments["protocol"]
    known = {
        one.name: one for one in (*gateway.roster.current.protocols(), *configuration.supervised)
    }
    protocol = known[name]
    for number in range(case.held):
        ask(gateway, protocol, case, 5000 + number)
    if case.log["reason"] == "outside-the-schedule":
        world.minute = 20 * 60

    answer = explain(gateway, configuration, case.arguments)
    ask(gateway, protocol, case, int(case.arguments.get("bind", "5900")))

    event, fields = next(
        (event, fields)
        for event, fields in reversed(world.journal.records)
        if event.endswith(".refused")
    )
    assert {"event": event, **{key: str(fields[key]) for key in case.log if key != "event"}} == {
        **case.log
    }
    assert (answer.allowed, answer.reason) == (False, case.log["reason"])
    assert answer.key == case.key
    registered = REASONS[case.log["reason"]].key
    assert registered is not None
    assert registered.partition(".")[2] == case.key.partition(".")[2]
    assert answer.remedy == REASONS[case.log["reason"]].remedy


def test_there_are_ten_refusals_of_different_kinds() -> None:
    reasons = {case.log["reason"] for case in cases()}

    assert len(SECTIONS) >= 10
    assert len(reasons) == len(SECTIONS)


def test_what_nobody_used_is_told_in_the_words_of_the_reasons() -> None:
    rows = dict(re.findall(r"^\| `([a-z]+-\S+)` \| (.*) \|$", TEXT, re.MULTILINE))

    assert rows == {missed.value: REASONS[missed].happened for missed in Missed}
    assert "sallyport doctor" in REASONS[Missed.DROPPED].remedy


@pytest.mark.parametrize("missed", list(Missed))
def test_explain_says_of_the_last_port_in_vain_what_the_log_said(missed: Missed) -> None:
    configuration = parse(CONFIGURATION, "why.toml")
    gateway = gateway_of(configuration, VirtualWorld())
    client, place = parse_address("10.0.0.17"), Endpoint.parse("203.0.113.1:40001")
    gateway.unused[client] = Unused(place, missed, gateway.clock() - 41)

    asked = {"client": str(client), "server": "198.51.100.9", "protocol": "ftp"}
    remarks = explain(gateway, configuration, asked).remarks

    reason = REASONS[missed]
    assert remarks[-1] == (
        f"the last port opened for {client} that no peer used, {place}, closed 41 s ago: {missed}:"
        f" {reason.happened} {reason.remedy}"
    )
