"""Requests of the local API on the whole core, line by line, without sockets."""

import json
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from tests.core.office import run

from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.pinholes.datapath import DataPathKind
from sallyport.flags import Transport
from sallyport.frontends.api.responder import ApiResponder, Book
from sallyport.testing import MemoryDataPath, make_gateway, make_policy

CLIENT, PEER = Endpoint.parse("10.0.0.8:8080"), Endpoint.parse("203.0.113.9:5000")
OUTSIDE = ip_address("203.0.113.1")


class Processes:
    """A gateway and the processes that speak with it."""

    def __init__(self, **rule: Any) -> None:  # noqa: ANN401 - any field of AccessRule
        policy = make_policy(**({"protocols": frozenset({"port-mapping"})} | rule))
        policy = replace(policy, own_addresses={"external": (OUTSIDE,)})
        self.gateway, self.path, self.world = make_gateway(policy=policy)
        user_path = self.gateway.data_paths[DataPathKind.USER]
        assert isinstance(user_path, MemoryDataPath)
        self.user_path = user_path
        self.book: Book = {}

    def process(self, user: str = "alice") -> "Process":
        return Process(self, user)


class Process:
    """One connection of a process."""

    def __init__(self, processes: Processes, user: str) -> None:
        self.heard: list[dict[str, Any]] = []
        self._responder = ApiResponder(
            processes.gateway,
            processes.book,
            user,
            tell=lambda line: self.heard.append(json.loads(line)),
            elsewhere=_elsewhere,
        )

    def say(self, line: bytes) -> dict[str, Any]:
        answer = run(self._responder.answer(line))
        assert answer.endswith(b"\n")
        decoded: dict[str, Any] = json.loads(answer)
        return decoded

    def ask(self, do: str, **keys: Any) -> Any:  # noqa: ANN401 - any key and any result
        answer = self.say(json.dumps({"id": 7, "do": do, **keys}).encode())
        assert answer["id"] == 7
        assert "error" not in answer, answer
        return answer.get("result")

    def refused(self, do: str, **keys: Any) -> tuple[str, str, int]:  # noqa: ANN401 - any key
        error = self.say(json.dumps({"id": 7, "do": do, **keys}).encode())["error"]
        return error["code"], error["reason"], error.get("hresult", 0)

    def bind(self, **keys: Any) -> Any:  # noqa: ANN401 - any key and any result
        return self.ask("bind", **(BIND | keys))

    def hang_up(self) -> None:
        self._responder.close()


def _elsewhere(client: IpAddress) -> str | None:
    return "/run/other.sock" if str(client) == "10.0.0.9" else None


BIND: dict[str, Any] = {
    "client_addresses": [str(CLIENT)],
    "transport": "tcp",
    "protocol": "port-mapping",
}


def test_a_bind_answers_where_peers_connect_and_its_events_carry_its_context() -> None:
    processes = Processes()
    process = processes.process()
    bound = process.bind(ip_filter=["203.0.113.0/28"], context={"job": 3})
    at = Endpoint.parse(bound["proxy_address"])

    assert (at.address, bound["state"], bound["rule"]) == (OUTSIDE, "armed", "test rule")
    assert processes.path.connect(PEER, at) == CLIENT
    processes.path.finish(PEER, 10, 20)
    about = {"binding": bound["binding"], "index": 0, "peer": str(PEER), "context": {"job": 3}}
    established, closed = process.heard
    assert established.items() >= ({"event": "established"} | about).items()
    assert (
        closed.items()
        >= (
            {"event": "closed", "reason": "finished", "flows": 1, "from_peer_bytes": 10} | about
        ).items()
    )
    assert processes.book == {}


def test_every_argument_of_the_primitive_can_be_said() -> None:
    processes = Processes(max_lifetime=500)
    process = processes.process()
    bound = process.ask(
        "bind",
        client="10.0.0.8",
        client_addresses=["10.0.0.8:4000", "10.0.0.8:4001"],
        transport="udp",
        protocol="port-mapping",
        proxy_address="203.0.113.1:0",
        flags=["allow_multiple", "bidirectional", "no_kernel_mode"],
        backlog=5,
        ip_filter=["203.0.113.9", "198.51.100.1-198.51.100.9"],
        peer_ports=[5000],
        lifetime=600,
        armed=False,
        stays=True,
        context=None,
    )
    assert (bound["state"], bound["expires_in"]) == ("reserved", 500)
    first, second = bound["connections"]
    assert (first["data_path"], second["client_address"]) == ("user", "10.0.0.8:4001")
    assert process.ask("arm", binding=bound["binding"])["state"] == "armed"
    (binding,) = processes.gateway.bindings()
    hole = binding.connections[0].pinhole
    assert hole.source_ports == frozenset({5000})
    assert (hole.backlog, hole.transport) == (5, Transport.UDP)
    assert str(hole.sources) == "198.51.100.1-198.51.100.9, 203.0.113.9"


def test_every_verb_of_a_binding_can_be_said() -> None:
    processes = Processes()
    process = processes.process()
    zero = process.bind(client="10.0.0.8", client_addresses=["0.0.0.0:0"])["binding"]
    shown = process.ask("set_client_address", binding=zero, client_address=str(CLIENT))
    assert shown["connections"][0]["client_address"] == str(CLIENT)
    process.ask("set_ip_filter", binding=zero, ip_filter=["198.51.100.9"], peer_ports=[20])
    assert process.ask("extend", binding=zero, seconds=30) == 30
    assert process.ask("show", binding=zero)["expires_in"] == 30
    process.ask("withdraw", binding=zero)
    assert process.heard[-1]["reason"] == "withdrawn-by-owner"

    two = process.bind(client_addresses=["10.0.0.8:4000", "10.0.0.8:4001"])["binding"]
    process.ask("set_ip_filter", binding=two, ip_filter=[], index=1)
    process.ask("kill", binding=two, index=1)
    assert (process.heard[-1]["index"], process.heard[-1]["reason"]) == (1, "killed-by-owner")
    process.ask("kill", binding=two)
    assert process.refused("show", binding=two)[0] == "not-found"

    udp = process.bind(transport="udp", flags=["bidirectional"])
    process.ask("send", binding=udp["binding"], peer="203.0.113.9:53", data="aGVsbG8=")
    (sent,) = processes.path.sent
    assert sent == (
        Endpoint.parse(udp["proxy_address"]),
        Endpoint.parse("203.0.113.9:53"),
        b"hello",
    )


@pytest.mark.parametrize(
    ("keys", "refusal"),
    [
        ({"client_addresses": []}, ("invalid-argument", "count-of-addresses", 0x80070057)),
        (
            {"client_addresses": ["10.0.0.8:22"]},
            ("address-not-allowed", "client-port-below-minimum", 0xC004002E),
        ),
        (
            {"client": "10.0.0.8", "client_addresses": ["10.0.0.7:4000"]},
            ("address-not-allowed", "not-the-clients-address", 0xC004002E),
        ),
        (
            {"proxy_address": "203.0.113.77:0"},
            ("address-not-available", "not-an-address-of-the-gateway", 0x80072741),
        ),
        (
            {"proxy_address": "203.0.113.1:22"},
            ("address-not-allowed", "external-port-is-not-granted", 0xC004002E),
        ),
        ({"protocol": "nonsense"}, ("invalid-argument", "unknown-protocol", 0x80070057)),
        ({"flags": ["nonsense"]}, ("invalid-argument", "wrong-type-of-flags", 0x80070057)),
        (
            {"flags": ["timeout", "allow_multiple"]},
            ("invalid-argument", "timeout-excludes-allow-multiple", 0x80070057),
        ),
        (
            {"flags": ["proxy_mode"]},
            ("invalid-argument", "proxy-mode-is-inherited-from-the-primary", 0x80070057),
        ),
        ({"backlog": 0}, ("invalid-argument", "backlog-out-of-range", 0x80070057)),
        ({"lifetime": 0}, ("invalid-argument", "lifetime-is-not-positive", 0x80070057)),
        ({"stays": True}, ("invalid-argument", "what-stays-needs-a-lifetime", 0x80070057)),
        ({"ip_filter": ["?"]}, ("invalid-argument", "an-argument-cannot-be-read", 0x80070057)),
        (
            {"client_addresses": ["10.0.0.9:8080"]},
            ("other-worker", "other-worker", 0),
        ),
    ],
)
def test_a_refusal_has_its_code_its_reason_and_the_number_of_the_sdk(
    keys: dict[str, Any], refusal: tuple[str, str, int]
) -> None:
    processes = Processes()
    assert processes.process().refused("bind", **(BIND | keys)) == refusal
    assert list(processes.gateway.bindings()) == []


def test_rules_know_the_user_and_the_way_of_asking() -> None:
    processes = Processes(users=frozenset({"alice"}))
    assert processes.process().bind()["state"] == "armed"
    assert processes.process("bob").refused("bind", **BIND) == (
        "policy-denied",
        "no-rule-for-this-user",
        0xC004000D,
    )


def test_quota_and_resources_are_refusals_too() -> None:
    processes = Processes(max_bindings_per_client=1)
    process = processes.process()
    process.bind()
    assert process.refused("bind", **BIND)[::2] == ("quota-exceeded", 0xC0040033)


def test_a_binding_ends_with_its_connection_and_what_runs_is_reset() -> None:
    processes = Processes()
    process = processes.process()
    at = Endpoint.parse(process.bind(flags=["allow_multiple"])["proxy_address"])
    processes.path.connect(PEER, at)
    process.hang_up()

    assert list(processes.gateway.bindings()) == []
    assert [peer for _, peer in processes.path.resets] == [PEER]
    assert processes.world.journal.reasons("binding.closed") == ["owner-has-gone"]
    assert processes.book == {}


def test_a_binding_that_stays_is_for_the_next_process_of_the_same_user() -> None:
    processes = Processes()
    first = processes.process()
    bound = first.bind(stays=True, lifetime=100)["binding"]
    first.hang_up()

    assert processes.process("bob").refused("kill", binding=bound)[0] == "not-found"
    assert processes.process().ask("extend", binding=bound, seconds=50) == 50
    processes.world.pass_time(processes.gateway, 50)
    assert processes.book == {}


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"nonsense",
        b"[]",
        b'{"id": 7}',
        b'{"id": 7, "do": "nonsense"}',
        b'{"id": 7, "do": "bind", "transport": "sctp"}',
        b'{"id": 7, "do": "arm", "binding": "b1", "more": 1}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_what_is_no_request_is_answered_and_costs_nothing(line: bytes) -> None:
    answer = Processes().process().say(line)

    assert answer["error"]["code"] == "bad-request"
    assert answer.get("id") == (7 if b'"id": 7' in line else None)
