"""A gateway that hosts ask for ports, on the whole core and without sockets; messages as bytes."""

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from sallyport.addresses import Endpoint
from sallyport.core.engine.gateway import Gateway
from sallyport.frontends.pcp.leases import Leases
from sallyport.frontends.pcp.responder import PcpResponder
from sallyport.frontends.rights import PORT_MAPPING
from sallyport.testing import MemoryDataPath, VirtualWorld, make_gateway, make_policy
from sallyport.wire.pcp import PcpResult

CLIENT = Endpoint.parse("10.0.0.8:60000")
NEIGHBOUR = Endpoint.parse("10.0.0.9:60000")
CLIENT6 = Endpoint.parse("[fd00:a::8]:60000")
OUTSIDE = ip_address("203.0.113.1")
PEER = Endpoint.parse("203.0.113.9:5000")
NONCE, OTHER_NONCE = bytes(range(12)), bytes(12)
MIN, MAX = 120, 86400


class Asking:
    """A gateway whose rule grants port mappings, and clients that ask it."""

    def __init__(self, **rule: Any) -> None:  # noqa: ANN401 - any field of AccessRule
        policy = make_policy(protocols=frozenset({"port-mapping"}), **rule)
        policy = replace(policy, own_addresses={"external": (OUTSIDE,)})
        made: tuple[Gateway, MemoryDataPath, VirtualWorld] = make_gateway(policy=policy)
        self.gateway, self.path, self.world = made
        self.leases = Leases(self.gateway, PORT_MAPPING)
        self.leases.bound(MIN, MAX)
        self.responder = PcpResponder(self.gateway, self.leases, speaks_nat_pmp=True)

    def ask(self, data: bytes, source: Endpoint = CLIENT) -> bytes | None:
        work = self.responder.answer(data, source)
        try:
            work.send(None)
        except StopIteration as answer:
            value: bytes | None = answer.value
            return value
        raise AssertionError("an answer that waits")

    def map(self, source: Endpoint = CLIENT, **fields: Any) -> "Answer":  # noqa: ANN401
        answer = self.ask(request(source, **fields), source)
        assert answer is not None
        return Answer(answer)

    def seconds_left(self) -> list[float | None]:
        return [binding.expires_in for binding in self.gateway.bindings()]

    def pinholes(self) -> list[str]:
        return [
            f"{hole.listen} -> {hole.target} from {hole.sources} ports {hole.source_ports}"
            for binding in self.gateway.bindings()
            for hole in (one.pinhole for one in binding.connections)
        ]


class Answer:
    """The fields of an answer to MAP."""

    def __init__(self, data: bytes) -> None:
        self.result = PcpResult(data[3])
        self.lifetime = int.from_bytes(data[4:8], "big")
        self.epoch = int.from_bytes(data[8:12], "big")
        self.port = int.from_bytes(data[42:44], "big")
        self.options = data[60:]


def packed(text: str) -> bytes:
    address = ip_address(text)
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


def request(
    source: Endpoint = CLIENT,
    *,
    client: str = "",
    lifetime: int = 3600,
    nonce: bytes = NONCE,
    protocol: int = 6,
    port: int = 8080,
    external: int = 0,
    suggested: str = "::",
    options: bytes = b"",
) -> bytes:
    head = b"\2\1\0\0" + lifetime.to_bytes(4, "big") + packed(client or str(source.address))
    ports = port.to_bytes(2, "big") + external.to_bytes(2, "big")
    return head + nonce + bytes((protocol, 0, 0, 0)) + ports + packed(suggested) + options


def option(code: int, data: bytes = b"") -> bytes:
    return bytes((code, 0)) + len(data).to_bytes(2, "big") + data + bytes(-len(data) % 4)


def peer(text: str, port: int = 0, bits: int = 128) -> bytes:
    return option(3, bytes((0, bits)) + port.to_bytes(2, "big") + packed(text))


PREFER_FAILURE = option(2)
